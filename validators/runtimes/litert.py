"""TFLite files on LiteRT (ai-edge-litert), the runtime of current Android and iOS apps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from compress.contracts import Acceleration, BadInput, Embedder, Evidence, Processor
from validators.runtimes import _litert_gpu as gpu
from validators.runtimes._arm import ArmRuntime
from validators.runtimes._installed import missing, version_of
from validators.runtimes._tflite import open_tflite

SOFTWARE_IMAGES = 100
"""A software GPU needs 50 ms and more for an image of any size, and seconds for large ones."""


@dataclass(frozen=True, kw_only=True)
class LiteRT(ArmRuntime):
    """Opens files in LiteRT's interpreter, or on its GPU accelerator.

    Attributes:
        xnnpack: false runs TFLite's own kernels instead of XNNPACK's.
        accelerator: ``gpu`` executes on a Vulkan device: the one in the folder that the environment variable
            COMPRESS_GPU names, as ``make gpu`` makes it, otherwise the system's.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "ai-edge-litert"
    imports: ClassVar[tuple[str, ...]] = ("ai_edge_litert.interpreter",)

    xnnpack: bool = True
    accelerator: Literal["cpu", "gpu"] = "cpu"

    def __post_init__(self) -> None:
        if self.accelerator == "gpu" and not self.xnnpack:
            raise BadInput("xnnpack: false changes the kernels of the CPU; remove it, or the option accelerator")
        if self.accelerator == "gpu" and self.arm:
            raise BadInput("arm: the Arm builds are executed on a CPU; remove it, or the option accelerator")

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        here = cls(), cls(xnnpack=False)
        return *here, *(each.with_arm() for each in here), cls(accelerator="gpu")

    def title(self) -> str:
        if self.accelerator == "gpu":
            return f"{self.component_name()}-gpu"
        return super().title() if self.xnnpack else f"{super().title()}-without-xnnpack"

    def evidence(self) -> Evidence:
        if self.accelerator == "cpu":
            return super().evidence()
        found, _ = gpu.device()
        return "native" if found is not None and not found.software else "gpu-software"

    def processor(self) -> Processor:
        return "gpu" if self.accelerator == "gpu" else super().processor()

    def most_images(self) -> int | None:
        return SOFTWARE_IMAGES if self.evidence() == "gpu-software" else super().most_images()

    def device_files(self) -> tuple[Path, ...]:
        if self.accelerator == "gpu" and self.evidence() == "native":
            found = (file for pattern in gpu.DEVICE_FILES for file in sorted(Path("/dev").glob(pattern)))
            return tuple(file for file in found if file.is_char_device())
        return ()

    def unavailable(self) -> str | None:
        if self.emulated:
            return self.not_emulated()
        absent = missing("ai_edge_litert", "compress-retrieval[verify]")
        if absent is not None or self.accelerator == "cpu":
            return absent
        found, reason = gpu.device()
        return reason if found is None else None

    def version(self) -> str:
        if self.emulated:
            return self.emulated_version()
        library = version_of("ai-edge-litert")
        if self.accelerator == "cpu":
            return library
        found, _ = gpu.device()
        return library if found is None else f"{library} on {found.name}"

    def open(self, path: Path, threads: int) -> Embedder:
        if self.accelerator == "gpu":
            return gpu.open_on_gpu(path)
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        own_kernels = None if self.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return open_tflite(Interpreter, path, threads, own_kernels)

    def acceleration(self, embed: Embedder) -> Acceleration | None:
        return embed.acceleration if isinstance(embed, gpu.GpuEmbedder) else None
