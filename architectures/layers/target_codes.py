"""One fixed +-1 code per class, far from all others (Hoe et al., NeurIPS 2021, arXiv:2109.14449, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import BadInput

_SEED = 0
_DRAWS = 30


class TargetCodes(nn.Module):
    """A classifier without parameters: activations [N, K] in [0, 1] -> cosines [N, classes] in [-1, 1].

    Attributes:
        codes: float32 [classes, K] of -1 and 1, stored with the weights.
    """

    codes: torch.Tensor

    def __init__(self, bits: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", target_codes(bits, num_classes))

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        return F.normalize(2 * activations - 1, dim=1) @ F.normalize(self.codes, dim=1).T


def target_codes(bits: int, num_classes: int) -> torch.Tensor:
    """Make the codes of all classes: float32 [num_classes, bits] of -1 and 1; the same codes every time.

    If ``bits`` is a power of two and at least the number of classes, the codes are rows of a Hadamard matrix, which are
    orthogonal. Otherwise bits are drawn evenly (the paper's Bernoulli codes) 30 times, and the draw whose nearest two
    codes are farthest apart is used. Hadamard rows are negated at random, because otherwise the first bit would be the
    same in every class.

    Raises:
        BadInput: there are too few bits for different codes.
    """
    generator = torch.Generator().manual_seed(_SEED)
    if bits & (bits - 1) == 0 and num_classes <= bits:
        rows = torch.randperm(bits, generator=generator)[:num_classes]
        return _hadamard(bits)[rows] * _signs((num_classes, 1), generator)
    draws = (_signs((num_classes, bits), generator) for _ in range(_DRAWS))
    codes = max(draws, key=least_distance)
    if num_classes > 1 and least_distance(codes) == 0:
        raise BadInput(f"bits: {bits} are too few to give {num_classes} classes a code each; ask for more")
    return codes


def least_distance(codes: torch.Tensor) -> int:
    """The number of bits by which the two nearest of codes [n, K] of -1 and 1 differ."""
    products = codes @ codes.T - 2 * codes.shape[1] * torch.eye(len(codes))
    return int(codes.shape[1] - products.max()) // 2


def _hadamard(size: int) -> torch.Tensor:
    """Build Sylvester's matrix: H(2n) = [[H(n), H(n)], [H(n), -H(n)]]; ``size`` is a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def _signs(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
