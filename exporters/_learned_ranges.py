"""Find the tensors of a converted file that hold the values whose ranges were learnt in training.

Rewrites and converters rename, split and permute tensors, so that names and shapes cannot identify them. But the values
are the same, in some order, and a few images are enough to recognise them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from compress.contracts import CompressError, LearnedRange, Model
from compress.model.quantized_values import stored_values, traced
from exporters._by_error import evenly

PROBES = 4
"""Number of calibration images whose values identify a tensor."""

_QUANTILES = np.linspace(0, 1, 17)
_SAME = 1e-3
"""Largest difference between two fingerprints of one value, as a share of its range; rounding causes up to 1e-5."""


def probes(calibration: np.ndarray) -> np.ndarray:
    """The calibration images, uint8 [n, H, W, 3], by which tensors are recognised."""
    return evenly(calibration, PROBES)


def fingerprint(values: np.ndarray) -> np.ndarray:
    """Summarise one image's values, in any order and shape, by number, quantiles and mean: float64 [19]."""
    flat = np.asarray(values, np.float64).ravel()
    return np.array([flat.size, *np.quantile(flat, _QUANTILES), flat.mean()])


def learned_ranges(model: Model, calibration: np.ndarray) -> tuple[LearnedRange, ...]:
    """The model's learnt ranges, each with the fingerprint of its value on ``probes(calibration)``.

    Raises:
        CompressError: the ranges belong to another network.
    """
    graph = traced(model.network.eval())
    nodes = {node.name: node for node in stored_values(graph)}
    foreign = [name for name in model.ranges if name not in nodes]
    if foreign:
        raise CompressError(f"ranges: the network has no value '{foreign[0]}'; train it again with the stage qat")
    mean, std = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (model.preprocess.mean, model.preprocess.std))
    seen: dict[str, list[np.ndarray]] = {name: [] for name in model.ranges}
    for image in probes(calibration):
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        for name, value in _values(graph, (pixels / 255 - mean) / std).items():
            if name in seen:
                seen[name].append(fingerprint(value.numpy()))
    return tuple(LearnedRange(name, *limits, np.stack(seen[name])) for name, limits in model.ranges.items())


def match(learned: Sequence[LearnedRange], tensors: Mapping[str, np.ndarray]) -> dict[str, LearnedRange]:
    """Find the learnt range of each tensor that holds one of these values.

    A constant tensor cannot be recognised and gets no range.

    Args:
        tensors: name -> fingerprints, float64 [n, 19].
    """
    found = {}
    for name, own in tensors.items():
        span = float((own[:, -2] - own[:, 1]).max())
        near = [(float(np.abs(own - each.fingerprint).max()), each) for each in learned if span > 0]
        distance, best = min(near, key=lambda pair: pair[0], default=(np.inf, None))
        if best is not None and distance <= _SAME * span:
            found[name] = best
    return found


def summary(
    learned: Sequence[LearnedRange], matched: Mapping[str, LearnedRange], steps: Mapping[str, float]
) -> dict[str, Any]:
    """Count the learnt ranges that the file uses, and list the names of the others, for bundle.json.

    A quantizer may silently give a tensor another range, e.g. that of its neighbour, so the written file is checked.

    Args:
        steps: tensor name -> quantization step of the written file's integer activations.

    Raises:
        CompressError: the file uses none of them.
    """
    if not learned:
        return {}
    used = {
        each.name
        for tensor, each in matched.items()
        if np.isclose(steps.get(tensor, 0.0), (each.high - each.low) / 255, rtol=1e-4, atol=0)
    }
    if not used:
        raise CompressError("ranges: the file holds none of the values whose ranges were learnt; report the network")
    unused = [each.name for each in learned if each.name not in used]
    return {"learned_ranges": {"used": len(used), "unused": unused}}


@torch.no_grad()
def _values(graph: fx.GraphModule, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compute every node's output, by name."""
    interpreter = fx.Interpreter(graph, garbage_collect_values=False)
    interpreter.run(x)
    return {node.name: value for node, value in interpreter.env.items() if isinstance(value, torch.Tensor)}
