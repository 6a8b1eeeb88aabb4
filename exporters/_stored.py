"""What a file really stores and computes with, operation by operation, and whether its precision's name is true.

Converters fall back to float where they cannot quantize, without a word, so the written file itself is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.contracts import CompressError


@dataclass(frozen=True)
class Kind:
    """The types of one operation that has weights (convolution, fully connected).

    Attributes:
        weights: as the file stores them, e.g. ``int8``, ``palette6``.
        operand: of the weights when the operation reads them, after a decompression that the file asks for.
        activations: of the operation's other input.
    """

    weights: str
    operand: str
    activations: str


@dataclass(frozen=True)
class Weighted:
    """One operation.

    Attributes:
        name: of the weights; operations that share them have the same.
        values: how many numbers the weights are.
    """

    name: str
    values: int
    kind: Kind


def summary(found: Sequence[Weighted]) -> dict[str, Any]:
    """For bundle.json: how many weights have each type, and how many operations read each type of activations."""
    weights: Counter[str] = Counter()
    for each in {each.name: each for each in found}.values():
        weights[each.kind.weights] += each.values
    activations = Counter(each.kind.activations for each in found)
    return {"weights": dict(sorted(weights.items())), "activations": dict(sorted(activations.items()))}


def require(
    found: Sequence[Weighted],
    precision: str,
    kinds: Mapping[str, Kind],
    path: Path,
    *,
    spared: int = 0,
    exempt: Collection[str] = (),
) -> None:
    """Compare the operations with weights of a written file with the name of its precision.

    Args:
        kinds: by precision, what each of them must be.
        spared: weights of at most so many values may have any type.
        exempt: and so may these, by name.

    Raises:
        CompressError: an operation has other types, or there is none to judge by.
    """
    judged = [each for each in found if each.values > spared and each.name not in exempt]
    wrong = [each for each in judged if each.kind != kinds[precision]]
    if wrong:
        kind = wrong[0].kind
        raise CompressError(
            f"{path.name}: {len(wrong)} of {len(judged)} operations are not {precision}, first '{wrong[0].name}': "
            f"weights {kind.weights} read as {kind.operand}, activations {kind.activations}; export another precision"
        )
    if not judged:
        fp32 = "nothing shows that the file is fp32; report the network"
        conclusion = fp32 if precision == "fp32" else f"{precision} saves nothing; export fp32"
        raise CompressError(f"{path.name}: no weights of more than {spared} values, so {conclusion}")
