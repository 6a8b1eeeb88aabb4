"""Mixed precision of w8a8 files: operations without weights that stay in float, by kind or by location.

Operations with weights are always quantized: a file with convolutions in float would not be w8a8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from annotated_types import Gt

from compress.contracts import BadInput
from exporters._file_exporter import FileExporter

FloatKind = Literal["sigmoid", "mean", "mul", "add", "concat", "hard_swish"]


@dataclass(frozen=True, kw_only=True)
class MixedPrecision(FileExporter):
    """An exporter whose w8a8 files can keep operations without weights in float.

    ONNX cannot: its files have pairs of QuantizeLinear and DequantizeLinear around tensors, and an operation without
    pairs still computes with integers, because ONNX Runtime fuses it with the pairs of its neighbours.

    Attributes:
        keep_float: for w8a8, kinds of operations to compute in float; ``auto`` decides for each single operation, by
            the nearest neighbours of calibration images that change, within ``max_ms`` and ``max_bytes``.
        float_tolerance: for ``auto``, operations are always quantized if the error that quantizing them alone causes is
            at most this: the root mean square error of the embeddings as a share of their spread around their mean.
            None means 0: only negligible errors are left out.
        max_ms: for ``auto``, the largest processor time for one image, in milliseconds, measured on this machine.
        float_at: for ``auto``, the operations in float, as an earlier export recorded them; nothing is measured then.
    """

    keep_float: Literal["auto", "none"] | tuple[FloatKind, ...] = "none"
    float_tolerance: Annotated[float, Gt(0)] | None = None
    max_ms: Annotated[float, Gt(0)] | None = None
    float_at: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_float != "none" and self.precision not in self.calibrated:
            raise BadInput(f"keep_float: {self.format} {self.precision} computes in float anyway; remove it")
        for option in ("float_tolerance", "max_ms", "float_at"):
            if getattr(self, option) is not None and self.keep_float != "auto":
                raise BadInput(f"{option}: is that of 'keep_float: auto'; remove it, or let keep_float be auto")

    @property
    def chooses_locations(self) -> bool:
        """Whether the operations in float are still to be chosen."""
        return self.keep_float == "auto" and self.float_at is None

    def undecided(self) -> bool:
        return super().undecided() or self.chooses_locations

    def measures(self) -> bool:
        return super().measures() or (self.chooses_locations and self.max_ms is not None)

    def choices(self) -> Mapping[str, Any]:
        return {**super().choices(), **({} if self.float_at is None else {"float_at": self.float_at})}

    def provisional(self) -> Self:
        if self.keep_float != "auto":
            return self
        return replace(self, keep_float="none", float_tolerance=None, max_ms=None, float_at=None)
