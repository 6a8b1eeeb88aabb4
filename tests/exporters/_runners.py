"""Each format executed by its own runtime in a few lines, and PyTorch as training sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from validators.mlprogram.execute import Executor
from validators.mlprogram.program import load

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FORMATS = [
    (".pt", "fp32"),
    (".ptl", "fp32"),
    (".onnx", "fp32"),
    (".tflite", "fp32"),
    (".mlpackage", "fp32"),
    (".mlpackage", "fp16"),
]
"""Every suffix with the precisions that compute in float and store what they compute with."""

QUANTIZED = [
    *((suffix, "w8") for suffix in (".pt", ".ptl")),
    (".onnx", "w8a8"),
    *((".tflite", precision) for precision in ("fp16", "w8", "w8a32", "w8a8")),
    *((".mlpackage", precision) for precision in ("w8", "p8", "p6", "p4", "w4")),
]
"""Every suffix with every other precision it has."""

ELSEWHERE = [
    *((".pte", precision) for precision in ("fp32", "w8a8")),
    *((suffix, precision) for suffix in (".coreml.pte", ".aimodel") for precision in ("fp32", "fp16")),
]
"""The formats whose converter is in an environment of its own; they have a test of their own, which converts little."""


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, H, W] -> float32, as training does it."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


@torch.no_grad()
def reference(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the network itself gives for uint8 [N, H, W, 3], batch normalisation not folded: float32 [N, D]."""
    embed = getattr(network, "embed", network)
    return np.asarray(embed(normalised(torch.from_numpy(channels_first(images)))))


def channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> embeddings [N, D]."""
    return _RUNNERS[path.suffix](path, images)


def min_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest cosine between rows of the same number."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def _torchscript(path: Path, images: np.ndarray) -> np.ndarray:
    return np.asarray(torch.jit.load(path)(torch.from_numpy(channels_first(images))))


def _torchscript_lite(path: Path, images: np.ndarray) -> np.ndarray:
    from torch.jit.mobile import _load_for_lite_interpreter

    return np.asarray(_load_for_lite_interpreter(str(path))(torch.from_numpy(channels_first(images))))


def _onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["embedding"], {"image": channels_first(images)})[0])


def _tflite(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    embed = Interpreter(str(path)).get_signature_runner("serving_default")
    return np.concatenate([embed(image=image[None])["embedding"] for image in images])


def _coreml(path: Path, images: np.ndarray) -> np.ndarray:
    return Executor(load(path))(images)


_RUNNERS: dict[str, Callable[[Path, np.ndarray], np.ndarray]] = {
    ".pt": _torchscript,
    ".ptl": _torchscript_lite,
    ".onnx": _onnx,
    ".tflite": _tflite,
    ".mlpackage": _coreml,
}
