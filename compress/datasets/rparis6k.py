"""RParis6k: the 11 landmarks of Paris: 70 queries, 6,322 images.

F. Radenovic et al., "Revisiting Oxford and Paris: large-scale image retrieval benchmarking", CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Dataset, ImageSize, Splits
from compress.datasets._revisited import revisited_splits


@dataclass(frozen=True, kw_only=True)
class Rparis6k(Dataset):
    """``gnd_rparis6k.pkl`` and ``jpg/*.jpg`` in ``root``/rparis6k or in ``root``.

    The queries are cut out by their boxes, and what is relevant is listed: metrics come as mAP/easy, mAP/medium and
    mAP/hard, and mAP alone is that of Medium. Images are named by landmark in galleries and reports.

    Attributes:
        train: a folder of other landmarks to train on, CLASS/**; None only tests, with a checkpoint or pretrained
            weights.
    """

    image_size: ImageSize = 224
    train: str | None = None

    def splits(self, seed: int) -> Splits:
        return revisited_splits("rparis6k", Path(self.root).expanduser(), r"paris_(.+)_\d+", self.train)
