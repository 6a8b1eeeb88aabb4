"""TFLite (.tflite) through litert-torch, for LiteRT and the TFLite runtimes before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph, Exporter


@dataclass(frozen=True, kw_only=True)
class TFLite(Exporter):
    """Input ``image`` uint8 [1, H, W, 3], output ``embedding`` float32 [1, D], signature ``serving_default``."""

    format: ClassVar[str] = "tflite"
    suffix: ClassVar[str] = ".tflite"
    requires: ClassVar[tuple[str, ...]] = ("torch", "litert-torch", "ai-edge-litert", "flatbuffers")
    extras: ClassVar[tuple[str, ...]] = ("train", "tflite")

    precision: Literal["fp32"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._tflite_metadata import with_names_and_metadata
        from exporters._write import unfinished

        with unfinished(path) as file:
            _convert(graph, file)
            file.write_bytes(with_names_and_metadata(file.read_bytes(), graph.metadata))


def _convert(graph: DeployGraph, file: Path) -> None:
    from exporters._quiet import quiet

    with quiet():
        import litert_torch
        import torch

        from exporters._channels_last import ChannelsLast

        height, width = graph.input_size
        example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        litert_torch.convert(ChannelsLast(graph.module), sample_kwargs={"image": example}).export(str(file))
