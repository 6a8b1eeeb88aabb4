"""The interface of gallery indexes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from compress.contracts.components import Component
from compress.contracts.models import Distance

if TYPE_CHECKING:
    import numpy as np


class OpenIndex(Protocol):
    """An opened index of G images."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search for the nearest images of queries float32 [Q, D], nearest first.

        Returns:
            Distances float32 [Q, k], in the units of ``compress.gallery.nearest.Match``, and the images' ids
            int64 [Q, k]; infinity and -1 if it found fewer than k.
        """


@dataclass(frozen=True, kw_only=True)
class Index(Component):
    """Finds a query's nearest images without comparing it with all of them, or faster than NumPy.

    Features are float32 [G, D] as the gallery stores them: for hamming, bits as 0 and 1.

    Class attributes:
        file: name of the index in the bundle's folder ``gallery``.
        distances: distances by which it can search.
        least_recall: limit of the gate ``index_recall`` if a recipe gives none.
        updatable: images can be added and removed without building it again; then it has ``update`` and ``open_keys``.
    """

    file: ClassVar[str]
    distances: ClassVar[tuple[Distance, ...]] = ("l2", "cosine")
    least_recall: ClassVar[float] = 0.9
    updatable: ClassVar[bool] = False

    def check(self, images: int) -> None:
        """Refuse, before anything is trained, an index that would fail for this number of images or on this machine.

        Raises:
            BadInput: an option does not fit the gallery.
            MissingTool: a library is not installed.
        """

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        """Write the index atomically; the same arguments give the same bytes. Raises as ``check``."""
        raise NotImplementedError

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        """Read what ``build`` wrote for these features.

        Raises:
            BadInput: the file is damaged or belongs to another gallery.
            MissingTool: a library is not installed.
        """
        raise NotImplementedError

    def update(self, path: Path, keys: np.ndarray, features: np.ndarray, distance: Distance) -> tuple[int, int]:
        """Make the index, or add and remove what changed, atomically.

        Args:
            keys: uint64 [G], different ones; the same key always means the same features.
            features: float32 [G, D].

        Returns:
            How many images were added and removed.

        Raises:
            BadInput: the file is damaged.
            MissingTool: a library is not installed.
        """
        raise NotImplementedError

    def open_keys(self, path: Path, keys: np.ndarray, features: np.ndarray, distance: Distance) -> OpenIndex:
        """As ``open``, for a file of ``update``; the ids that it finds are rows of ``features``.

        Raises:
            BadInput: the file is damaged, or holds other keys.
        """
        raise NotImplementedError
