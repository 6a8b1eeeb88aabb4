"""GeM and feature fusion in the formats that convert most: what the file gives is what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model
from exporters import export_model
from tests.exporters._runners import reference
from validators import run_artifact

TRUNK: dict[str, Any] = {
    "alnet": {"widths": (8,), "strides": (2,), "expansions": (1,), "cbam": False, "head_width": 32}
}
TOLERANCE = {"fp32": 1e-5, "fp16": 3e-3}


class _Both(nn.Module):
    """GeM and feature fusion of one image, side by side: one file shows both."""

    def __init__(self) -> None:
        super().__init__()
        self.gem: Any = create_model("gem", trunk=TRUNK, p=5.7, dim=16)
        self.fusion: Any = create_model("fusion", trunk=TRUNK)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gem, fusion = self.gem.embed(x), self.fusion.embed(x)
        return torch.cat([gem / gem.norm(dim=1, keepdim=True), fusion / fusion.norm(dim=1, keepdim=True)], 1)


@pytest.mark.nightly
@pytest.mark.parametrize(("suffix", "precision"), [(".tflite", "fp32"), (".mlpackage", "fp16")])
def test_files_give_what_pytorch_gives(
    suffix: str,
    precision: str,
    calibrate: Callable[..., nn.Module],
    tinted: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    network: Any = calibrate(_Both(), 32, 32)
    images = tinted(6, 32, 32)
    want = reference(network, images)
    path = export_model(network, tmp_path / f"both{suffix}", input_size=32, precision=precision)
    got = run_artifact(path, images)
    with torch.no_grad():
        network.gem.pool.p += 1
        network.fusion.pool.attention.weight += 1
    other = reference(network, images)
    for half in (slice(0, 16), slice(16, None)):
        assert np.abs(got - want)[:, half].max() < TOLERANCE[precision] < np.abs(other - want)[:, half].max()
