"""Which tensors of a converted file hold the values whose ranges were learnt in training, found by the values.

Rewrites and converters rename, split and permute, so that no name or shape survives. But they compute the same values,
in some order, which few images suffice to recognise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from compress.contracts import CompressError, LearnedRange, Model
from compress.model.quantized_values import stored_values, traced
from exporters._mixed import evenly

PROBES = 4
"""Calibration images whose values identify a tensor."""

_QUANTILES = np.linspace(0, 1, 17)
_SAME = 1e-3
"""Largest difference between two fingerprints of one value, as a share of its range; rounding makes up to 1e-5."""


def probes(calibration: np.ndarray) -> np.ndarray:
    """The images, uint8 [n, H, W, 3], by which tensors are recognised."""
    return evenly(calibration, PROBES)


def fingerprint(values: np.ndarray) -> np.ndarray:
    """Of one image's values in any order and shape: how many there are, their quantiles and mean; float64 [19]."""
    flat = np.asarray(values, np.float64).ravel()
    return np.array([flat.size, *np.quantile(flat, _QUANTILES), flat.mean()])


def learned_ranges(model: Model, calibration: np.ndarray) -> tuple[LearnedRange, ...]:
    """The model's ranges with the fingerprints, on ``probes(calibration)``, of the values they were learnt of.

    Raises:
        CompressError: the ranges are those of another network.
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
    """The learnt range of each tensor that holds one of those values.

    A tensor that is the same everywhere says nothing and gets none.

    Args:
        tensors: fingerprints float64 [n, 19] by name.
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
    """For bundle.json: how many learnt ranges the file uses, and the names of the others.

    A quantizer may give a tensor another range without a word, that of its neighbour for one, so the file is asked.

    Args:
        steps: of the written file's integer activations, by tensor name.

    Raises:
        CompressError: it uses none.
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
    """Every node's output, by name."""
    interpreter = fx.Interpreter(graph, garbage_collect_values=False)
    interpreter.run(x)
    return {node.name: value for node, value in interpreter.env.items() if isinstance(value, torch.Tensor)}
