"""TFLite (.tflite) through litert-torch, for LiteRT and the TFLite runtimes before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from compress.contracts import DeployGraph, Timer
from exporters._costs import XNNPACK, XNNPACK_INT8, XNNPACK_INT8_OPERANDS, Costs
from exporters._file_exporter import Inspected
from exporters._float_weights import FloatWeights
from exporters._mixed import MixedPrecision
from exporters._stored import Kind


@dataclass(frozen=True, kw_only=True)
class TFLite(MixedPrecision, FloatWeights):
    """Exports a signature ``serving_default``: input ``image`` uint8 [1, H, W, 3], output ``embedding`` float32 [1, D].

    Attributes:
        precision: ``fp16`` and ``w8`` store half-precision or int8 weights and compute in float32, to which the runtime
            expands them once, when it loads the file. ``w8a32`` stores int8 weights, keeps activations in float32 and
            quantizes them to int8 at every operation. ``w8a8`` stores int8 weights and computes with int8 activations,
            whose ranges come from calibration images, or from the stage ``qat``.
    """

    format: ClassVar[str] = "tflite"
    suffix: ClassVar[str] = ".tflite"
    requires: ClassVar[tuple[str, ...]] = (
        "torch",
        "litert-torch",
        "ai-edge-litert",
        "ai-edge-quantizer",
        "flatbuffers",
    )
    extras: ClassVar[tuple[str, ...]] = ("train", "tflite")
    runtime_costs = XNNPACK
    calibrated: ClassVar[frozenset[str]] = frozenset({"w8a8"})
    weight_only: ClassVar[frozenset[str]] = frozenset({"w8", "w8a32"})
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "fp16": Kind("float16", "float32", "float32"),
        "w8": Kind("int8", "float32", "float32"),
        "w8a32": Kind("int8", "int8", "float32"),
        "w8a8": Kind("int8", "int8", "int8"),
    }

    precision: Literal["fp32", "fp16", "w8", "w8a32", "w8a8"] = "fp32"

    @property
    def costs(self) -> Costs:
        kind = self.stored[self.precision]
        if kind.weights != "int8":
            return super().costs
        costs = XNNPACK_INT8_OPERANDS if kind.operand == "int8" else XNNPACK_INT8
        return replace(costs, reductions=super().costs.reductions)

    def measured(self, graph: DeployGraph, timer: Timer | None, folder: Path) -> Self:
        from compress.system.progress import say
        from exporters._float_locations import Limits, best
        from exporters._quiet import quiet

        content = self.float_file(graph, folder / "float.tflite")
        with quiet():
            from exporters._tflite_choice import tried_files

            tried = tried_files(content, graph, self, timer, folder)
        found = best(tried, Limits(self.max_ms, self.max_bytes))
        say(f"export: {len(found.kept)} operations stay in float: {found.text()}; with none: {tried[0].text()}")
        return replace(self, float_at=tuple(each.name for each in found.kept))

    def float_file(self, graph: DeployGraph, path: Path) -> bytes:
        """Convert the graph at ``path``; returns the file with short names, to be quantized."""
        from exporters._tflite_depthwise import without_single_channels
        from exporters._tflite_metadata import with_names

        _convert(graph, path)
        content = with_names(path.read_bytes())
        if self.stored[self.precision].weights == "int8" and self.optimize != "none":
            content = without_single_channels(content)
        return content

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        from exporters._quiet import quiet
        from exporters._tflite_gpu import require_exact_on_gpus
        from exporters._tflite_metadata import with_end_names, with_metadata

        content, metadata = self.float_file(graph, path), dict(graph.metadata)
        exempt: Collection[str] = ()
        if self.precision != "fp32":
            with quiet():
                from exporters._tflite_quantize import integers, smaller

                if self.precision == "w8a8":
                    content, chosen = integers(content, graph, self)
                    metadata |= {"quantization": chosen} if chosen else {}
                else:
                    content, chosen, exempt = smaller(content, self.precision, self.float_layers(graph))
                    metadata |= chosen
            content = with_end_names(content)
        if self.optimize != "none":
            require_exact_on_gpus(content, self.costs.group_multiple, path)
        path.write_bytes(with_metadata(content, metadata))
        return exempt

    def inspect(self, path: Path) -> Inspected:
        from exporters._tflite_stored import stored

        return Inspected(stored(path.read_bytes()), self.quantization(path))


def _convert(graph: DeployGraph, file: Path) -> None:
    from exporters._quiet import quiet

    with quiet():
        import litert_torch
        import torch

        from exporters._channels_last import ChannelsLast

        height, width = graph.input_size
        example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        litert_torch.convert(ChannelsLast(graph.module), sample_kwargs={"image": example}).export(str(file))
