"""The images with which artifacts are checked, and the base class of checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from compress.contracts.components import Component
from compress.contracts.data import GroundTruth, ImageSet
from compress.contracts.models import EmbeddingSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image over repeated single-image runs after warm-up."""

    median: float
    p95: float
    threads: int


@dataclass(frozen=True)
class HeldOut:
    """The images with which an artifact is checked. Queries never update weights; a data set's own gallery may.

    Attributes:
        queries: the images that are searched with.
        gallery: the images searched in; the same object as ``queries`` means leave-one-out.
        probes: uint8 [P, H, W, 3], for parity only; grey images are tinted.
        ground_truths: the relevant images of the queries, by setting; as in ``Splits``.
        scales: scales at which the gallery's images are embedded; 1 is the network's own size.
    """

    queries: ImageSet
    gallery: ImageSet
    probes: np.ndarray
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    scales: tuple[float, ...] = (1.0,)

    @property
    def multi_scale(self) -> bool:
        """Whether gallery images are embedded at several scales. Only PyTorch can do that, so it makes the gallery."""
        return self.scales != (1.0,)

    @property
    def ground_truth(self) -> GroundTruth | None:
        """The ground truth of metrics without a suffix; None if labels define what is relevant."""
        return next(iter(self.ground_truths.values()), None)

    @property
    def leave_one_out(self) -> bool:
        return self.gallery is self.queries


@dataclass(frozen=True)
class Observation:
    """The embeddings of the held-out images by one model; the reference is the PyTorch model's.

    Attributes:
        queries: float32 [Q, D].
        gallery: float32 [G, D]; the same object as ``queries`` for leave-one-out.
        probes: float32 [P, D], for the parity probes.
        mean_ap: mAP of these features by the retrieval check, if it was already measured; it is not measured again.
    """

    queries: np.ndarray
    gallery: np.ndarray
    probes: np.ndarray
    latency: Latency | None = None
    mean_ap: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of a check of another package.

    Attributes:
        passed: whether the artifact may ship.
        values: what was measured, by name.
    """

    passed: bool
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Check(Component):
    """Compares an artifact with the PyTorch model.

    Class attributes:
        section: its key under ``validate`` in a recipe and in an artifact's entry of bundle.json. Checks of other
            packages leave it empty: their key is their name, and ``run`` gives a ``Verdict``.
    """

    section: ClassVar[str] = ""

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> object:
        """Measure; the result has the section's type in ``validators.results``, or is a ``Verdict``.

        Never raises for a bad artifact: values that cannot be measured are None.
        """
        raise NotImplementedError
