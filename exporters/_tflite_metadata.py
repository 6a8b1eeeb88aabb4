"""Edit tensor names and metadata of a .tflite file through the runtime's own FlatBuffers schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters._tflite_file import packed, read


def with_names(content: bytes) -> bytes:
    """Give all tensors short, unique names, and input and output the names ``image`` and ``embedding``."""
    model = read(content)
    model.description = b"compress-retrieval"
    (graph,) = model.subgraphs
    for index, tensor in enumerate(graph.tensors):
        tensor.name = _short_name(tensor.name.decode(), index).encode()
    _name_ends(graph)
    return packed(model)


def with_metadata(content: bytes, metadata: Mapping[str, Any]) -> bytes:
    """Store ``metadata`` twice.

    ``TFLITE_METADATA`` (the ModelMetadata table that Android's tools show) has fields for name, version, author and
    licence only; the JSON entry ``compress.json`` holds everything.
    """
    model = read(content)
    text = json.dumps(metadata, sort_keys=True).encode()
    for name, data in {"TFLITE_METADATA": _model_metadata(metadata), "compress.json": text}.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.metadata = [*(model.metadata or []), entry]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, dtype=np.uint8)
        model.buffers.append(buffer)
    return packed(model)


def with_end_names(content: bytes) -> bytes:
    """Restore the names ``image`` and ``embedding``, which the quantizer leaves on inner tensors."""
    model = read(content)
    (graph,) = model.subgraphs
    ends = {*graph.inputs, *graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in ends and tensor.name in (b"image", b"embedding"):
            tensor.name += f".{index}".encode()
    _name_ends(graph)
    return packed(model)


def _name_ends(graph: Any) -> None:
    for tensors, name in ((graph.inputs, "image"), (graph.outputs, "embedding")):
        (index,) = tensors
        graph.tensors[index].name = name.encode()


def _short_name(name: str, index: int) -> str:
    """Shorten the converter's chain of Python classes, e.g. to ``Conv2d_0.17``; quantizers need unique names."""
    last = name.partition(";")[0].rpartition("/")[2]
    return f"{last.rpartition('.')[2] or 'tensor'}.{index}"


def _model_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Build the root table of metadata_schema.fbs; all fields used here are strings."""
    slots = {
        0: metadata["name"],
        1: f"image: {metadata['input']}, values 0-255; embedding: float32, {metadata['embedding_dim']} values",
        2: metadata["version"],
        4: "compress-retrieval",
        5: metadata["license"],
    }
    builder = flatbuffers.Builder(1024)
    offsets = {slot: builder.CreateString(str(text)) for slot, text in slots.items()}
    builder.StartObject(8)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), b"M001")
    return bytes(builder.Output())
