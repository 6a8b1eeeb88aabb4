"""Artifacts of a network whose output is known exactly: a weighted sum of the pixels.

Every value of every channel has a weight of its own, so rows, columns or channels in another order change the
result; weights are small integers, so float32 is exact whatever the order of summation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from compress.contracts import Exporter

SIZES = ((7, 5), (32, 33))
DIM = 4
FORMATS = {
    "torchscript": ".pt",
    "torchscript-lite": ".ptl",
    "onnx": ".onnx",
    "tflite": ".tflite",
    "coreml": ".mlpackage",
}


def weights(height: int, width: int) -> np.ndarray:
    """float32 [3 * H * W, DIM], integers."""
    return np.asarray(np.random.default_rng(7).integers(-9, 10, (3 * height * width, DIM)).astype(np.float32))


def expected(images: np.ndarray) -> np.ndarray:
    """float32 [N, DIM], by the definition."""
    _, height, width, _ = images.shape
    table = weights(height, width).reshape(3, height, width, DIM)
    return np.asarray(np.einsum("nhwc,chwd->nd", images.astype(np.float64), table), np.float32)


def photos(count: int, height: int, width: int) -> np.ndarray:
    """uint8 [N, H, W, 3]."""
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


def write_onnx(path: Path, table: np.ndarray, height: int, width: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["row"]),
            helper.make_node("MatMul", ["row", "table"], ["embedding"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, height, width])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DIM])],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def network(height: int, width: int) -> nn.Module:
    """The network: uint8 [N, 3, H, W] -> float32 [N, DIM]."""
    import torch

    table = torch.from_numpy(weights(height, width))

    class Linear(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.to(torch.float32).flatten(1) @ table

    return Linear().eval()


def write_slowly(exporter: Exporter, folder: Path, height: int, width: int) -> Path:
    """The artifact of a format whose converter is in an environment of its own; made once in ``folder``."""
    from compress.contracts import DeployGraph

    path = folder / f"linear{height}x{width}{exporter.suffix}"
    if not path.exists():
        exporter.write(DeployGraph(network(height, width), (height, width), {"license": "CC0-1.0"}), path)
    return path


def write_all(folder: Path, height: int, width: int) -> dict[str, Path]:
    """One artifact of each format that this environment can write, by format."""
    import coremltools as ct
    import litert_torch
    import torch

    paths = {format: folder / f"linear{height}x{width}{suffix}" for format, suffix in FORMATS.items()}
    module, table = network(height, width), weights(height, width)
    traced = torch.jit.trace(module, torch.zeros(1, 3, height, width, dtype=torch.uint8))
    traced.save(paths["torchscript"])
    traced._save_for_lite_interpreter(str(paths["torchscript-lite"]))
    write_onnx(paths["onnx"], table, height, width)
    example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    litert_torch.convert(litert_torch.to_channel_last_io(module, args=[0]), (example,)).export(str(paths["tflite"]))
    ct.convert(
        traced,
        inputs=[ct.ImageType(name="image", shape=(1, 3, height, width), color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(name="embedding")],
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    ).save(str(paths["coreml"]))
    return paths
