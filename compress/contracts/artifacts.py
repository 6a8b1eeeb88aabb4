"""Exported files and the base class of exporters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from compress.contracts.components import Component
from compress.contracts.errors import BadInput
from compress.contracts.models import Model

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Optimize = Literal["speed", "size", "none", "measured"]


@dataclass(frozen=True)
class Artifact:
    """An exported file or folder.

    Attributes:
        details: further keys of its entry in bundle.json: the result of ``Exporter.details``, and ``calibration``.
    """

    path: Path
    format: str
    precision: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearnedRange:
    """One range of ``Model.ranges``, with the fingerprint of its value.

    Attributes:
        fingerprint: float64 [n, 19], by which the exporters recognise the value in a converted file.
    """

    name: str
    low: float
    high: float
    fingerprint: np.ndarray


@dataclass(frozen=True)
class DeployGraph:
    """The graph that exporters write: uint8 RGB -> normalise -> network -> (L2) -> embedding.

    Attributes:
        module: forward(image uint8 [N, 3, H, W], or float32 holding 0-255) -> embedding float32 [N, D]; eval
            mode, batch normalisation folded, classifier removed.
        input_size: (H, W).
        metadata: flat JSON object written into the file if the format can store it.
        calibration: uint8 [N, H, W, 3], for exporters that need calibration; None for the others.
        learned: ranges that replace measured ones.
    """

    module: nn.Module
    input_size: tuple[int, int]
    metadata: Mapping[str, Any]
    calibration: np.ndarray | None = None
    learned: Sequence[LearnedRange] = ()


@dataclass(frozen=True)
class Candidates:
    """Files of one format whose times are to be compared; they take images of ``size`` (H, W)."""

    size: tuple[int, int]
    files: tuple[Path, ...]


Timer = Callable[[Sequence[Candidates]], list[list[float]]]
"""Measures the processor time in milliseconds of each file for one image on one thread of its format's runtime; the
files of one ``Candidates`` are measured in turn. Raises MissingTool if no runtime executes the format, CompressError if
a file fails."""


@dataclass(frozen=True, kw_only=True)
class Exporter(Component):
    """One file format.

    Class attributes:
        format: name of the format in bundle.json.
        suffix: file suffix by which ``exporters.export_model`` finds the class.
        requires: distributions the conversion needs, as ``pip`` names them.
        extras: extras of this package that install them.
        calibrated: the precisions that need calibration images.
    Subclasses declare ``precision`` as a field whose Literal lists the precisions that the format can store.

    Attributes:
        calibration_images: at most this many training images measure the ranges of a calibrated precision, or what
            another option says; they are chosen by the recipe's seed, the same number from each class. None means 256.
        optimize: ``speed`` rewrites the graph for the format's runtime, ``size`` does so without adding weights,
            ``none`` converts it unchanged; ``measured`` times the variants at each location on the runtime and keeps
            the fastest. All compute the same, to float rounding. Only ``none`` keeps what a runtime's GPU computes
            wrongly: TFLite files have no grouped convolution whose groups are no multiple of 4 channels.
        max_bytes: largest size of the file, for ``speed`` and ``measured``.
        plan: the variant at each location, as an earlier export recorded it; nothing is estimated or measured then.
    """

    format: ClassVar[str]
    suffix: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    extras: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[frozenset[str]] = frozenset()

    precision: str = "fp32"
    calibration_images: Annotated[int, Ge(1)] | None = None
    optimize: Optimize = "speed"
    max_bytes: Annotated[int, Ge(1)] | None = None
    plan: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for option in ("max_bytes", "plan"):
            if getattr(self, option) is not None and self.optimize in ("size", "none"):
                raise BadInput(f"{option}: 'optimize: {self.optimize}' chooses nothing; use speed or measured")
        if self.calibration_images is not None and not self.needs_calibration:
            with_images = ", ".join(sorted(self.calibrated)) or "none"
            raise BadInput(
                f"calibration_images: {self.format} {self.precision} uses no calibration images (precisions that do: "
                f"{with_images}); remove this option"
            )

    @property
    def needs_calibration(self) -> bool:
        """Whether the export measures something on calibration images."""
        return self.precision in self.calibrated

    def unavailable(self) -> str | None:
        """Why the conversion cannot run here although ``requires`` are installed, with the remedy; None if it can."""
        return None

    def undecided(self) -> bool:
        """Whether options are left to a measurement or a limit in bytes; ``exporters.planned`` fills them in."""
        return self.plan is None and (self.optimize == "measured" or self.max_bytes is not None)

    def measures(self) -> bool:
        """Whether one of them needs times."""
        return self.plan is None and self.optimize == "measured"

    def choices(self) -> Mapping[str, Any]:
        """The options that were filled in."""
        return {} if self.plan is None else {"plan": self.plan}

    def check(self, model: Model) -> None:
        """Refuse, before anything is trained, a precision in which the format cannot store this model.

        ``model`` has the right shapes and any weights.

        Raises:
            BadInput: with the remedy.
        """

    def write(self, graph: DeployGraph, path: Path) -> None:
        """Convert and write one artifact at ``path``; the same graph gives the same bytes.

        Raises:
            BadInput: the network gives NaN or infinite embeddings.
            CompressError: the types in the written file do not match the precision, or its runtime, in a child process,
                cannot execute it or gives other embeddings than the network.
        """
        raise NotImplementedError

    def write_unchecked(self, graph: DeployGraph, path: Path) -> None:
        """As ``write``, for a file that is only measured: it is not executed."""
        raise NotImplementedError

    def details(self, path: Path) -> Mapping[str, Any]:
        """Further keys for the file's entry in bundle.json, read from the written file; none by default."""
        return {}
