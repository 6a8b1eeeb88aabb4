"""Compare the types that a file really stores and computes with, operation by operation, with its precision.

Converters silently fall back to float if they cannot quantize, so the written file itself is read.
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
        weights: type in which the file stores the weights, e.g. ``int8``, ``palette6``.
        operand: type of the weights that the operation reads, after any decompression in the file.
        activations: type of the operation's other input.
    """

    weights: str
    operand: str
    activations: str


@dataclass(frozen=True)
class Weighted:
    """One operation with weights.

    Attributes:
        name: name of the weights; operations that share weights have the same name.
        values: number of weights.
    """

    name: str
    values: int
    kind: Kind


def summary(found: Sequence[Weighted]) -> dict[str, Any]:
    """Count the weights of each type, and the operations that read each type of activations, for bundle.json."""
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
    """Refuse a written file whose operations with weights do not have the types of its precision.

    Args:
        kinds: precision -> types that each operation must have.
        spared: weights of at most this many values may have any type.
        exempt: names of further weights, which must be in float.

    Raises:
        CompressError: an operation has other types, or there is no operation to judge.
    """
    rounded = [each.name for each in found if each.name in exempt and not each.kind.weights.startswith("float")]
    if rounded:
        raise CompressError(f"{path.name}: the weights '{rounded[0]}' are not in float; report the network")
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
