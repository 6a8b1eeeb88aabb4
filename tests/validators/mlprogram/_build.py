"""MIL programs written by hand, stored as packages that take one image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

HEIGHT, WIDTH = 8, 10
SHAPE = (1, 4, 6, 10)
"""What a built function gets: the pixels of an image 8 x 10, scaled to -1 ... 1 by 1/128 so that they are exact."""


def write(
    path: Path,
    build: Callable[[Any], Any],
    *,
    target: ct.target = ct.target.iOS18,
    layout: str = "RGB",
    half: bool = False,
) -> Path:
    """A package that applies ``build`` to the scaled pixels [1, 4, 6, 10] and puts out the flattened result.

    No optimisation pass runs, so every operation arrives in the file as written.
    """

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, HEIGHT, WIDTH))], opset_version=target)
    def program(image: Any) -> Any:
        dtype = np.float16 if half else np.float32
        pixels = mb.cast(x=image, dtype="fp16") if half else image
        scaled = mb.sub(x=mb.mul(x=pixels, y=dtype(1 / 128)), y=dtype(1))
        flat = flattened(build(mb.reshape(x=scaled, shape=SHAPE)))
        return mb.cast(x=flat, dtype="fp32", name="embedding")

    model = ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="image", shape=(1, 3, HEIGHT, WIDTH), color_layout=ct.colorlayout[layout])],
        outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(path))
    return path


def flattened(value: Any) -> Any:
    """[1, n] of floating-point numbers."""
    if not types.is_float(value.dtype):
        value = mb.cast(x=value, dtype="fp32")
    return mb.reshape(x=value, shape=[1, -1])


def scaled(images: np.ndarray) -> np.ndarray:
    """What ``build`` gets for uint8 [N, 8, 10, 3]: float64 [N, 4, 6, 10]."""
    return images.transpose(0, 3, 1, 2).reshape(-1, *SHAPE[1:]) / 128 - 1


def photos(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
