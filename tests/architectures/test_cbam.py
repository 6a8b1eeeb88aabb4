"""CBAM against a second version written from the paper's equations, one image and one position at a time."""

from __future__ import annotations

import math

import pytest
import torch

from architectures.layers.cbam import CBAM


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def slow_cbam(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """x [C, H, W]; first [hidden, C], second [C, hidden], kernel [2, 7, 7] (mean, then maximum)."""
    C, H, W = x.shape

    def mlp(pooled: torch.Tensor) -> torch.Tensor:
        return second @ (first @ pooled).clamp(min=0)

    average = torch.stack([x[c].mean() for c in range(C)])
    largest = torch.stack([x[c].max() for c in range(C)])
    total = mlp(average) + mlp(largest)
    x = torch.stack([x[c] * sigmoid(float(total[c])) for c in range(C)])

    maps = [x.mean(0), x.max(0).values]
    result = torch.empty_like(x)
    for row in range(H):
        for column in range(W):
            score = 0.0
            for m in range(2):
                for i in range(7):
                    for j in range(7):
                        r, c = row + i - 3, column + j - 3
                        if 0 <= r < H and 0 <= c < W:
                            score += float(kernel[m, i, j] * maps[m][r, c])
            result[:, row, column] = x[:, row, column] * sigmoid(score)
    return result


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(32, 16, 2), (8, 4, 2), (24, 16, 1), (8, 16, 1)])
def test_equals_the_equations(channels: int, reduction: int, hidden: int) -> None:
    torch.manual_seed(0)
    cbam = CBAM(channels, reduction).double()
    first, second, kernel = cbam.parameters()
    assert first.shape == (hidden, channels, 1, 1)
    assert second.shape == (channels, hidden, 1, 1)
    assert kernel.shape == (1, 2, 7, 7)
    x = torch.randn(2, channels, 5, 4, dtype=torch.double)
    with torch.no_grad():
        weights = first[:, :, 0, 0], second[:, :, 0, 0], kernel[0]
        expected = torch.stack([slow_cbam(image, *weights) for image in x])
        assert torch.allclose(cbam(x), expected, atol=1e-12)
        swapped = torch.stack([slow_cbam(image, weights[0], weights[1], kernel[0].flip(0)) for image in x])
        assert not torch.allclose(cbam(x), swapped, atol=1e-3)
