"""Mixed precision of w8a8 files: kinds of operations without weights that stay in float.

Operations with weights are always quantized: a file with convolutions in float would not be w8a8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

from compress.contracts import BadInput
from exporters._file_exporter import FileExporter

if TYPE_CHECKING:
    import numpy as np

FloatKind = Literal["sigmoid", "mean", "mul", "add", "concat", "hard_swish"]

TOLERANCE = 0.02
"""Default of ``float_tolerance``."""

SWEEP_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class MixedPrecision(FileExporter):
    """An exporter whose w8a8 files can keep operations without weights in float.

    ONNX cannot: its files have pairs of QuantizeLinear and DequantizeLinear around tensors, and an operation without
    pairs still computes with integers, because ONNX Runtime fuses it with the pairs of its neighbours.

    Attributes:
        keep_float: for w8a8, kinds of operations to compute in float; ``auto`` measures, on calibration images, the
            error of the embeddings from quantizing each kind alone, and keeps the kinds whose error is above
            ``float_tolerance`` in float.
        float_tolerance: for ``auto``, the largest root mean square error, as a share of the embeddings' spread around
            their mean. None means 0.02.
    """

    keep_float: Literal["auto", "none"] | tuple[FloatKind, ...] = "none"
    float_tolerance: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_float != "none" and self.precision not in self.calibrated:
            raise BadInput(f"keep_float: {self.format} {self.precision} computes in float anyway; remove it")
        if self.float_tolerance is not None and self.keep_float != "auto":
            raise BadInput("float_tolerance: is that of 'keep_float: auto'; remove it, or let keep_float be auto")

    def kept_float(
        self,
        present: Mapping[FloatKind, int],
        exact: Callable[[np.ndarray], np.ndarray],
        alone: Callable[[FloatKind, np.ndarray], np.ndarray],
        calibration: np.ndarray,
    ) -> tuple[list[FloatKind], dict[str, Any]]:
        """Choose the kinds to keep in float; also returns the record of the choice.

        Args:
            present: number of operations of each kind in the file.
            exact: computes the float file's embeddings, float32 [n, D], of images uint8 [n, H, W, 3].
            alone: the same for a file in which only this kind is quantized.
        """
        if self.keep_float == "none":
            return [], {}
        if self.keep_float != "auto":
            kept = [kind for kind in self.keep_float if kind in present]
            return kept, {"float_operations": {kind: present.get(kind, 0) for kind in self.keep_float}}
        tolerance = self.float_tolerance or TOLERANCE
        images = evenly(calibration, SWEEP_IMAGES)
        right = exact(images)
        errors = {kind: relative_error(alone(kind, images), right) for kind in present}
        kept = [kind for kind, error in errors.items() if error > tolerance]
        sweep = {"images": len(images), "tolerance": tolerance, "errors": {k: round(e, 6) for k, e in errors.items()}}
        return kept, {"float_operations": {kind: present[kind] for kind in kept}, "sweep": sweep}


def relative_error(found: np.ndarray, right: np.ndarray) -> float:
    """Root mean square error of embeddings [n, D] as a share of their spread, or of their length if all are equal."""
    import numpy as np

    spread = float(np.linalg.norm(right - right.mean(0))) or float(np.linalg.norm(right)) or 1.0
    return float(np.linalg.norm(found - right)) / spread


def evenly(images: np.ndarray, count: int) -> np.ndarray:
    """Take at most ``count`` of the images, evenly spaced."""
    import numpy as np

    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return np.asarray(images[chosen])


def counted(names: Sequence[str], kinds: Mapping[FloatKind, Sequence[str]]) -> dict[FloatKind, int]:
    """Count a file's operations of each kind, for the kinds that it has."""
    found = {kind: sum(name in operations for name in names) for kind, operations in kinds.items()}
    return {kind: count for kind, count in found.items() if count}
