"""Resizes that a runtime computes otherwise are written as selections or matrix products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from exporters import export_model
from exporters._costs import COREML, ONNXRUNTIME, XNNPACK, Costs
from exporters.rewrites.exact_resize import ByIndex, ByMatrices, ExactResize
from tests.exporters._runners import reference, run
from tests.exporters.rewrites._networks import rewritten, traced


class Resize(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.options = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 8, 3), options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(F.interpolate(self.first(x), **self.options))
        return y.mean((2, 3))


ODD = {"size": (11, 30)}
CASES: list[tuple[dict[str, Any], type[nn.Module] | None, type[nn.Module] | None]] = [
    (ODD, ByIndex, None),
    ({"scale_factor": 2}, None, None),
    ({"scale_factor": 1.7}, ByIndex, None),
    ({"scale_factor": (0.5, 1.3), "mode": "nearest-exact"}, ByIndex, ByIndex),
    ({**ODD, "mode": "bilinear"}, None, None),
    ({**ODD, "mode": "bilinear", "antialias": True}, ByMatrices, ByMatrices),
    ({"scale_factor": 0.4, "mode": "bicubic", "antialias": True}, ByMatrices, ByMatrices),
    ({**ODD, "mode": "bicubic"}, ByMatrices, ByMatrices),
    ({**ODD, "mode": "area"}, ByMatrices, ByMatrices),
]


@pytest.mark.parametrize(("options", "tflite", "coreml"), CASES, ids=[str(case[0]) for case in CASES])
def test_every_resize_computes_the_same(
    options: dict[str, Any], tflite: type[nn.Module] | None, coreml: type[nn.Module] | None
) -> None:
    x = torch.rand(2, 3, 33, 48, generator=torch.Generator().manual_seed(0))
    costs: list[tuple[Costs, type[nn.Module] | None]] = [(XNNPACK, tflite), (COREML, coreml), (ONNXRUNTIME, None)]
    for cost, expected in costs:
        network = traced(Resize(**options))
        changed = rewritten(network, x[:1], (ExactResize(cost),))
        kinds = {type(layer) for layer in changed.modules()} & {ByIndex, ByMatrices}
        assert kinds == ({expected} if expected else set())
        torch.testing.assert_close(changed(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".tflite", ODD),
        (".tflite", {**ODD, "mode": "bilinear", "antialias": True}),
        (".mlpackage", {**ODD, "mode": "bilinear", "antialias": True}),
    ],
)
def test_files_compute_what_pytorch_does(
    suffix: str, options: dict[str, Any], tinted: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    network, images = Resize(**options), tinted(4, 33, 48)
    found = run(export_model(network, tmp_path / f"m{suffix}", input_size=(33, 48)), images)
    right = reference(network, images)
    assert np.linalg.norm(found - right) < 1e-4 * np.linalg.norm(right - right.mean(0))
