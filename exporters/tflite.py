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
    requires: ClassVar[tuple[str, ...]] = ("litert-torch", "ai-edge-litert", "flatbuffers")

    precision: Literal["fp32"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._tflite_metadata import with_names_and_metadata
        from exporters._write import unfinished

        content = with_names_and_metadata(_converted(graph), graph.metadata)
        with unfinished(path) as file:
            file.write_bytes(content)


def _converted(graph: DeployGraph) -> bytes:
    import tempfile

    from exporters._quiet import quiet

    with quiet():
        import litert_torch
        import torch
        from torch import nn

        class ChannelsLast(nn.Module):
            """The names of its argument and of its result become those of the signature."""

            def __init__(self) -> None:
                super().__init__()
                self.deployed = graph.module

            def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
                return {"embedding": self.deployed(image.permute(0, 3, 1, 2))}

        height, width = graph.input_size
        example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.tflite"
            litert_torch.convert(ChannelsLast().eval(), sample_kwargs={"image": example}).export(str(file))
            return file.read_bytes()
