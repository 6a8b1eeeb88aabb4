"""What an app finds in the .onnx file, and that old runtimes can open it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.exporters.conftest import SIZE


@pytest.fixture(scope="module")
def model(artifact: Callable[..., Path]) -> Any:
    return onnx.load(artifact(".onnx"), load_external_data=False)


def dimensions(value: Any) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_names_types_and_shapes(model: Any) -> None:
    (image,), (embedding,) = model.graph.input, model.graph.output
    assert (image.name, embedding.name) == ("image", "embedding")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert embedding.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert dimensions(image) == ["N", 3, *SIZE]
    assert dimensions(embedding) == ["N", 1280]


def test_runtimes_of_2023_read_it(model: Any) -> None:
    assert model.ir_version == 8
    assert [(used.domain, used.version) for used in model.opset_import] == [("", 18)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}


def test_it_is_one_file(model: Any, artifact: Callable[..., Path]) -> None:
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert [file.name for file in artifact(".onnx").parent.glob("*.onnx*")] == ["alnet.onnx"]


def test_it_is_simplified_and_bare(model: Any) -> None:
    operations = [node.op_type for node in model.graph.node]
    assert operations.count("Conv") == 44  # 14 with folded batch normalisation, 5 for each of 6 attention modules
    assert not {"BatchNormalization", "Identity", "Constant", "Shape"} & set(operations)
    parts = [model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info]
    assert not any(part.doc_string or part.metadata_props for part in parts)


def test_metadata(model: Any) -> None:
    values = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "compress-retrieval"
    assert (values["name"], values["license"], values["architecture"]) == ("alnet", "CC0-1.0", "ALNet")
    assert values["input"] == "uint8 RGB 48x64"
    assert json.loads(values["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(values["antialias"]) is True
    assert (values["embedding_dim"], values["embedding_kind"], values["distance"]) == ("1280", "float", "l2")
