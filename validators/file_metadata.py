"""Read the metadata inside an exported file from its bytes, without converter, runtime or code of the file."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from validators.flatbuffer import MAX_BYTES, field, tables, uint32, vector
from validators.pte_file import returned_text

# Field numbers of onnx.proto (ModelProto) and of Core ML's Model.proto.
_ONNX_METADATA, _KEY, _VALUE = 14, 1, 2
# Positions of fields in the tables Model, Metadata and Buffer of TFLite's schema.fbs.
_TFLITE_BUFFERS, _TFLITE_METADATA, _TFLITE_NAME, _TFLITE_BUFFER, _TFLITE_DATA = 4, 6, 0, 1, 0
_COREML_DESCRIPTION, _COREML_METADATA, _COREML_USER_DEFINED = 2, 100, 100


def read_metadata(path: Path, file_format: str) -> dict[str, Any]:
    """Read what the exporter wrote into an artifact about its input and output (``exporters._deploy.describe``).

    Raises:
        ValueError: the file holds no such metadata, or is damaged.
    """
    if file_format not in _READERS:
        raise ValueError(f"no metadata are known for the format '{file_format}'")
    try:
        return _READERS[file_format](path)
    except (
        OSError,
        KeyError,
        IndexError,
        struct.error,
        zipfile.BadZipFile,
        RecursionError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"no readable metadata ({error})") from error


def _torchscript(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        records = [each for each in archive.infolist() if each.filename.endswith("/extra/metadata.json")]
        if len(records) != 1 or records[0].file_size > MAX_BYTES:
            raise ValueError("no record extra/metadata.json")
        return _object(archive.read(records[0]))


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("the metadata are no JSON object")
    return found


def _tflite(path: Path) -> dict[str, Any]:
    """Read the buffer that the entry ``compress.json`` of the model's metadata names."""
    content = path.read_bytes()
    model = uint32(content, 0)
    for entry in tables(content, model, _TFLITE_METADATA):
        name = field(content, entry, _TFLITE_NAME)
        if name is None or vector(content, name) != b"compress.json":
            continue
        number = field(content, entry, _TFLITE_BUFFER)
        buffer = list(tables(content, model, _TFLITE_BUFFERS))[0 if number is None else uint32(content, number)]
        data = field(content, buffer, _TFLITE_DATA)
        if data is not None:
            return _object(vector(content, data))
    raise ValueError("no entry compress.json")


def _executorch(path: Path) -> dict[str, Any]:
    return _object(returned_text(path.read_bytes(), "metadata"))


def _onnx(path: Path) -> dict[str, Any]:
    return _from_text(_pairs(_fields(path.read_bytes(), _ONNX_METADATA)))


def _coreml(path: Path) -> dict[str, Any]:
    model = (path / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    (description,) = _fields(model, _COREML_DESCRIPTION)
    (metadata,) = _fields(description, _COREML_METADATA)
    return _from_text(_pairs(_fields(metadata, _COREML_USER_DEFINED)))


def _coreai(path: Path) -> dict[str, Any]:
    with (path / "metadata.json").open("rb") as file:
        found = _object(file.read(MAX_BYTES))["creatorDefinedMetadata"]
    if not isinstance(found, dict):
        raise ValueError("the metadata are no JSON object")
    return found


def _pairs(entries: Iterator[bytes]) -> dict[str, str]:
    """Decode protocol-buffer messages of a key and a value."""
    found = {}
    for entry in entries:
        (key,), (value,) = _fields(entry, _KEY), _fields(entry, _VALUE)
        found[key.decode()] = value.decode()
    return found


def _from_text(values: Mapping[str, str]) -> dict[str, Any]:
    """The reverse of ``exporters._deploy.as_text``: text that is not JSON is a string."""
    found: dict[str, Any] = {}
    for key, text in values.items():
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    if not found:
        raise ValueError("the file holds no metadata")
    return found


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the length-delimited fields with this number in an encoded protocol-buffer message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("a field reaches past the end")
            if number == wanted:
                yield message[position : position + length]
            position += length
        elif wire == 0:
            _, position = _varint(message, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise ValueError("a number of more than 64 bits")


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "tflite": _tflite,
    "torchscript": _torchscript,
    "torchscript-lite": _torchscript,
    "onnx": _onnx,
    "coreml": _coreml,
    "executorch": _executorch,
    "executorch-coreml": _executorch,
    "coreai": _coreai,
}
