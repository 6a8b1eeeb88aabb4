"""ONNX (.onnx), for ONNX Runtime on phones, servers and desktops."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from compress.contracts import CompressError, DeployGraph
from exporters._costs import ONNXRUNTIME
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind

# ONNX Runtime 1.14 (February 2023) is the first to read opset 18, and reads IR versions up to 8; torch's exporter
# writes opset 18 natively.
_OPSET = 18
_IR_VERSION = 8


@dataclass(frozen=True, kw_only=True)
class Onnx(FileExporter):
    """Exports one file of opset 18: input ``image`` uint8 [N, 3, H, W], output ``embedding`` float32 [N, D], any N.

    Attributes:
        precision: ``w8a8`` stores int8 weights and computes with uint8 activations, whose ranges come from calibration
            images or from the stage ``qat``.
    """

    format: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    requires: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime")
    extras: ClassVar[tuple[str, ...]] = ("train", "onnx")
    runtime_costs = ONNXRUNTIME
    calibrated: ClassVar[frozenset[str]] = frozenset({"w8a8"})
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "w8a8": Kind("int8", "int8", "uint8"),
    }

    precision: Literal["fp32", "w8a8"] = "fp32"

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        import onnx

        from exporters._deploy import as_text
        from exporters._quiet import quiet

        with quiet():
            model = _simplified(_converted(graph), graph)
            _strip(model)
            metadata = dict(graph.metadata)
            if self.precision == "w8a8":
                from exporters._onnx_quantize import integers

                model, chosen = integers(model, graph)
                metadata |= {"quantization": chosen} if chosen else {}
        model.ir_version = _IR_VERSION
        model.producer_name, model.producer_version = "compress-retrieval", str(graph.metadata["version"])
        onnx.helper.set_model_props(model, as_text(metadata))
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return ()

    def inspect(self, path: Path) -> Inspected:
        import onnx

        from exporters._onnx_stored import stored

        model = onnx.load(path)
        chosen = {prop.key: json.loads(prop.value) for prop in model.metadata_props if prop.key == "quantization"}
        return Inspected(stored(model), chosen)


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


def _simplified(model: Any, graph: DeployGraph) -> Any:
    import numpy as np
    import onnxruntime
    import onnxsim

    from exporters._written import embedded, judged, structured_images

    images = structured_images(graph.input_size)
    simplified, _ = onnxsim.simplify(model, check_n=0)
    session = onnxruntime.InferenceSession(simplified.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    # onnxsim's own check compares with the plain file by fixed tolerances, and networks amplify rounding differently.
    judgement = judged(found, embedded(graph.module, images), graph.module, images, "fp32")
    if not judgement.passed:
        raise CompressError(
            f"{graph.metadata['name']}: onnxsim changed what the network computes ({judgement.text()}); report the "
            "network"
        )
    return simplified


def _strip(model: Any) -> None:
    """Remove stack traces and paths of this machine: they are useless to a user and change the bytes."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.doc_string = ""
        part.ClearField("metadata_props")
    model.doc_string = ""
