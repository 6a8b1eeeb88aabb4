"""The recipe's section ``gallery``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from compress.contracts.components import Component, component_field
from compress.contracts.indexes import Index


@dataclass(frozen=True, kw_only=True)
class GalleryOptions(Component):
    """The recipe's section ``gallery``.

    Attributes:
        thumbnail: longer side of the thumbnails in pixels; smaller images keep their size.
        max_images: a larger gallery is represented by this many images, evenly spaced.
        scales: sizes at which PyTorch embeds each gallery image, as a server would, 1 being the network's own; the
            feature is the mean of the L2-normalised embeddings, normalised again. Phones still query at one size, and
            all scores are those of their queries in this gallery. 1, 0.7071, 0.5 in Radenović et al. (2019).
        index: what apps search with; null compares the query with every image.
    """

    thumbnail: Annotated[int, Ge(8), Le(512)] = 64
    max_images: Annotated[int, Ge(1)] = 2000
    scales: tuple[Annotated[float, Gt(0), Le(2)], ...] = (1.0,)
    index: Index | None = component_field(Index, None)
