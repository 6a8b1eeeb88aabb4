"""What artifacts are checked with, and what a check says."""

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
    """The images an artifact is checked with. No query updated weights; a gallery of the data set's own may have.

    Attributes:
        queries: the images that are searched with.
        gallery: the images searched in; the same object as ``queries`` means leave-one-out.
        probes: uint8 [P, H, W, 3], for parity alone; grey images are tinted.
        ground_truths: what is relevant to the queries, by setting; as in ``Splits``.
        scales: at which the gallery's images are embedded, 1 being the network's own size.
    """

    queries: ImageSet
    gallery: ImageSet
    probes: np.ndarray
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    scales: tuple[float, ...] = (1.0,)

    @property
    def multi_scale(self) -> bool:
        """The PyTorch model makes the gallery that every artifact searches: an artifact takes images of one size."""
        return self.scales != (1.0,)

    @property
    def ground_truth(self) -> GroundTruth | None:
        """The one that metrics without a suffix mean; None where labels tell."""
        return next(iter(self.ground_truths.values()), None)

    @property
    def leave_one_out(self) -> bool:
        return self.gallery is self.queries


@dataclass(frozen=True)
class Observation:
    """What one model gave for the held-out images; the reference is PyTorch itself.

    Attributes:
        queries: float32 [Q, D].
        gallery: float32 [G, D]; the same object as ``queries`` where the data says leave-one-out.
        probes: float32 [P, D], for the parity probes.
        mean_ap: mAP of these features by the retrieval check, where it was measured before; it is not measured again.
    """

    queries: np.ndarray
    gallery: np.ndarray
    probes: np.ndarray
    latency: Latency | None = None
    mean_ap: float | None = None


@dataclass(frozen=True, kw_only=True)
class Check(Component):
    """One comparison of an artifact with the PyTorch model.

    ``section`` is the key it has under ``validate`` in a recipe and in an artifact's entry of bundle.json.
    """

    section: ClassVar[str]

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> object:
        """What was measured, as the section's type in ``validators.results``.

        Never raises for a bad artifact: values that cannot be measured are None.
        """
        raise NotImplementedError
