"""Compare a written file, executed by its runtime in a child process, with the network that was exported.

The bundle's gates judge how good a file is, on many images. This check is for every export: a file that its runtime
refuses, or that computes something else, never gets its final name.
"""

from __future__ import annotations

import atexit
import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress.contracts import BadInput, CompressError, DeployGraph, MissingTool
from exporters._by_error import evenly
from validators import choose_runtime, runtimes_for
from validators.fork_server import ForkServer

LIMITS: Mapping[str, float] = {"fp32": 0.003, "fp16": 0.1, "w8": 0.3, "p8": 0.3, "p6": 0.6}
"""Largest root mean square error of the embeddings of two images, by precision, as a share of their spread around their
mean. A file that gives one embedding for all images has an error of 1 or more."""
LARGEST = 0.95
"""The limit of the other precisions. Gates are much stricter, but they judge trained networks."""
_LEAST_SPREAD: Mapping[str, float] = {"fp32": 1e-3, "fp16": 0.02}
"""Spread, as a share of the embeddings' length, that is assumed at least: a network without training gives all images
nearly the same embedding."""
_LEAST_SPREAD_OF_INTEGERS = 0.1
_ROUNDINGS = 50
"""An error of this many times PyTorch's own rounding is no fault of the file: some networks amplify rounding."""
_TIMEOUT_S = 900
_IMAGES = 2

_server = ForkServer()
atexit.register(_server.close)


@dataclass(frozen=True)
class Reference:
    """What a network itself gives for two images.

    Attributes:
        images: uint8 [2, H, W, 3].
        embeddings: float32 [2, D].
    """

    graph: DeployGraph
    images: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def of(cls, graph: DeployGraph, name: str) -> Reference:
        """Execute the network.

        Args:
            name: what is to be written, for the message.

        Raises:
            BadInput: the network gives values that are not finite.
        """
        images = _images(graph)
        embeddings = embedded(graph.module, images)
        if not np.isfinite(embeddings).all():
            raise BadInput(
                f"{name}: the network gives NaN or infinite embeddings, so no file of it can be checked; check its "
                "weights"
            )
        return cls(graph, images, embeddings)

    def require_same(self, path: Path, name: str, file_format: str, precision: str) -> None:
        """Execute the file at ``path`` and compare its embeddings with the network's.

        Args:
            name: the file's final name, for messages.

        Raises:
            CompressError: the file cannot be executed, or gives other embeddings.
            MissingTool: nothing here can execute the format, or the machine lacks what the execution needs.
        """
        if not runtimes_for(file_format):
            return  # a format of another package: the run executes the file on the runtime that its recipe names
        runtime = choose_runtime(file_format)
        done = _server.execute(runtime, path, {"images": self.images}, timeout_s=_TIMEOUT_S)
        if done.outputs is None:
            kind = CompressError if done.lacking is None else MissingTool
            raise kind(f"{name}: the written file was not kept, as it cannot be executed: {done.failure}")
        found, right = done.outputs["images"], self.embeddings
        if found.shape != right.shape:
            raise CompressError(
                f"{name}: the written file was not kept, as {runtime.title()} gives {list(found.shape)} values and "
                f"the network {list(right.shape)}; report the network"
            )
        judgement = judged(found, right, self.graph.module, self.images, precision)
        if not judgement.passed:
            raise CompressError(
                f"{name}: the written file was not kept, as {runtime.title()} computes something else: "
                f"{judgement.text()}; export another format or precision, or report the network"
            )


@dataclass(frozen=True)
class Judgement:
    """How far embeddings are from the network's, relative to their spread.

    Attributes:
        rounding: the error of the network itself if its weights are rounded otherwise; None if it was not needed.
    """

    error: float
    limit: float
    rounding: float | None = None

    @property
    def passed(self) -> bool:
        more = 0.0 if self.rounding is None else min(_ROUNDINGS * self.rounding, LARGEST)
        return self.error <= max(self.limit, more)  # NaN is no small error

    def text(self) -> str:
        found = f"the embeddings of {_IMAGES} images differ from the network's by {self.error:.3g} of their spread"
        return f"{found} (limit {self.limit:g}; PyTorch's own rounding gives {self.rounding or 0:.1g})"


def judged(found: np.ndarray, right: np.ndarray, module: nn.Module, images: np.ndarray, precision: str) -> Judgement:
    """Compare embeddings [N, D] of ``images`` uint8 [N, H, W, 3] with ``right``, those of the deployed network."""
    least = _LEAST_SPREAD.get(precision, _LEAST_SPREAD_OF_INTEGERS)
    first = Judgement(relative_error(found, right, least), LIMITS.get(precision, LARGEST))
    if first.passed:
        return first
    return replace(first, rounding=relative_error(embedded(rounded_otherwise(module), images), right, least))


def embedded(module: nn.Module, images: np.ndarray) -> np.ndarray:
    """What a deployed network gives for uint8 [N, H, W, 3]: float32 [N, D]."""
    with torch.no_grad():
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        found: np.ndarray = module(pixels).numpy()
    return found


def rounded_otherwise(module: nn.Module) -> nn.Module:
    """A copy whose weights are changed by one unit in their last place, up or down: a measure of what rounding does."""
    generator = torch.Generator().manual_seed(0)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for values in (*twin.parameters(), *twin.buffers()):
            if values.is_floating_point():
                signs = torch.randint(0, 2, values.shape, generator=generator) * 2 - 1
                values.mul_(1 + signs * torch.finfo(values.dtype).eps)
    return twin


def relative_error(found: np.ndarray, right: np.ndarray, least: float) -> float:
    """Root mean square error of embeddings [n, D] as a share of their spread around their mean.

    Args:
        least: the spread is taken as at least this share of the embeddings' length.
    """
    found, right = found.astype(np.float64), right.astype(np.float64)
    length = float(np.linalg.norm(right))
    spread = max(float(np.linalg.norm(right - right.mean(0))), least * length) or 1.0
    return float(np.linalg.norm(found - right)) / spread


def _images(graph: DeployGraph) -> np.ndarray:
    """Two calibration images, whose values the ranges cover, or else two made ones."""
    if graph.calibration is not None and len(graph.calibration) > 1:
        chosen = evenly(graph.calibration, _IMAGES)
        if not np.array_equal(chosen[0], chosen[1]):
            return chosen
    return structured_images(graph.input_size)


def structured_images(size: tuple[int, int]) -> np.ndarray:
    """Two images with edges, ramps and stripes, different in each colour: uint8 [2, H, W, 3]."""
    height, width = size
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    one = (255 * x, 255 * (((x - 0.4) ** 2 + (y - 0.6) ** 2) < 0.09), 127 + 127 * np.sin(20 * y + 9 * x))
    other = (255 * (np.floor(4 * x) % 2), 255 * (1 - y), 200 * (np.abs(x - y) < 0.2) + 40 * x)
    return np.stack([np.stack(channels, 2) for channels in (one, other)]).round().astype(np.uint8)
