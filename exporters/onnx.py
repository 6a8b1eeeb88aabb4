"""ONNX (.onnx), for ONNX Runtime on phones, servers and desktops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from compress.contracts import DeployGraph, Exporter

_OPSET = 18
"""The newest that onnxruntime-mobile 1.14 and later read, and the oldest torch's exporter writes."""


@dataclass(frozen=True, kw_only=True)
class Onnx(Exporter):
    """Input ``image`` uint8 [N, 3, H, W], output ``embedding`` float32 [N, D]; N is free. One file, opset 18."""

    format: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxsim")

    precision: Literal["fp32"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        import onnx

        from exporters._quiet import quiet
        from exporters._write import unfinished

        with quiet():
            model = _simplified(_converted(graph))
        _strip(model)
        model.producer_name, model.producer_version = "compress-retrieval", str(graph.metadata["version"])
        onnx.helper.set_model_props(model, {key: str(value) for key, value in sorted(graph.metadata.items())})
        onnx.checker.check_model(model, full_check=True)
        with unfinished(path) as file:
            file.write_bytes(model.SerializeToString(deterministic=True))


def _converted(graph: DeployGraph) -> Any:
    import torch

    example = torch.zeros(2, 3, *graph.input_size, dtype=torch.uint8)
    program = torch.onnx.export(
        graph.module,
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=_OPSET,
        input_names=["image"],
        output_names=["embedding"],
        dynamic_shapes={"image": {0: torch.export.Dim("N")}},
    )
    assert program is not None
    return program.model_proto


def _simplified(model: Any) -> Any:
    import onnxsim

    simplified, same = onnxsim.simplify(model)
    assert same, "onnxsim changed what the graph computes"
    return simplified


def _strip(model: Any) -> None:
    """Remove stack traces and paths of this machine: they say nothing to a user and change the bytes."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.doc_string = ""
        part.ClearField("metadata_props")
    model.doc_string = ""
