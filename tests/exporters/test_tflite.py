"""What an app finds in the .tflite file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers.table import Table

from exporters._tflite_metadata import with_end_names
from exporters._tflite_quantize import converted
from tests.exporters.conftest import SIZE


@pytest.fixture(scope="module")
def content(artifact: Callable[..., Path]) -> bytes:
    return artifact(".tflite").read_bytes()


@pytest.fixture(scope="module")
def model(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def entries(content: bytes) -> dict[str, bytes]:
    """The file's metadata entries by name."""
    model = schema.Model.GetRootAs(content)
    found = (model.Metadata(number) for number in range(model.MetadataLength()))
    return {entry.Name().decode(): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes() for entry in found}


def test_names_types_and_shapes(content: bytes) -> None:
    interpreter = Interpreter(model_content=content)
    (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["name"], embedding["name"]) == ("image", "embedding")
    assert (image["dtype"], embedding["dtype"]) == (np.uint8, np.float32)
    assert image["shape"].tolist() == image["shape_signature"].tolist() == [1, *SIZE, 3]
    assert embedding["shape"].tolist() == embedding["shape_signature"].tolist() == [1, 1280]
    signature = {"inputs": ["image"], "outputs": ["embedding"]}
    assert interpreter.get_signature_list() == {"serving_default": signature}


def test_every_shape_is_fixed(model: Any) -> None:
    (graph,) = model.subgraphs
    for tensor in graph.tensors:
        assert tensor.shapeSignature is None or (np.asarray(tensor.shapeSignature) > 0).all()
        assert tensor.shape is None or (np.asarray(tensor.shape) > 0).all()


def test_tensor_names_are_short_and_unique(model: Any) -> None:
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names) > 100
    assert max(map(len, names)) < 40
    assert not any("exporters" in name or "<" in name for name in names)


def test_constants_are_aligned(content: bytes) -> None:
    """To 16 bytes, as the schema demands: runtimes map the file and read tensors in place."""
    model = schema.Model.GetRootAs(content)
    whole = np.frombuffer(content, dtype=np.uint8)
    seen = 0
    for number in range(model.BuffersLength()):
        data = model.Buffers(number).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            assert (data.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) % 16 == 0
            seen += 1
    assert seen > 50


def test_convolutions_see_no_added_transposition(model: Any) -> None:
    codes = [code.builtinCode for code in model.operatorCodes]
    used = [codes[operation.opcodeIndex] for operation in model.subgraphs[0].operators]
    # Three for each of the 7 channel shuffles; a graph that goes back to channels-first has one around each operation.
    assert used.count(schema.BuiltinOperator.TRANSPOSE) <= 21


def test_the_whole_metadata_is_an_entry_of_its_own(content: bytes) -> None:
    metadata = json.loads(entries(content)["compress.json"])
    assert (metadata["name"], metadata["license"], metadata["architecture"]) == ("alnet", "CC0-1.0", "ALNet")
    assert metadata["mean"] == [0.485, 0.456, 0.406]
    assert metadata["resize"] == list(SIZE)
    assert (metadata["interpolation"], metadata["antialias"], metadata["crop"]) == ("bilinear", True, "none")
    assert (metadata["embedding_dim"], metadata["embedding_kind"], metadata["distance"]) == (1280, "float", "l2")


def test_the_standard_metadata_table(content: bytes) -> None:
    """Read with the slots of metadata_schema.fbs: name, description, version, subgraphs, author, licence."""
    data = entries(content)["TFLITE_METADATA"]
    assert data[4:8] == b"M001"
    table = Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))

    def text(slot: int) -> str:
        return str(table.String(table.Offset(4 + 2 * slot) + table.Pos).decode())

    assert text(0) == "alnet"
    assert text(1) == "image: uint8 RGB 48x64, values 0-255; embedding: float32, 1280 values"
    assert text(4) == "compress-retrieval"
    assert text(5) == "CC0-1.0"
    assert table.Offset(4 + 2 * 3) == 0


def test_alnet_with_int8_weights_is_small(content: bytes) -> None:
    assert len(with_end_names(converted(content, "w8"))) <= 1_100_000
