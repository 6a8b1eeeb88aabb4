"""Paris Buildings (Paris6k): 6,412 photographs, some known to be damaged; 12 classes by file-name prefix.

J. Philbin et al., "Lost in quantization: improving particular object retrieval in large scale image databases",
CVPR 2008. Classes as in the OMCBIR paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Dataset, ImageSize, Splits, TestShare
from compress.datasets._landmarks import landmark_splits


@dataclass(frozen=True, kw_only=True)
class Paris6k(Dataset):
    """``paris_defense_000034.jpg`` and the like, in ``root``/paris or at or below ``root``.

    Attributes:
        test_share: share of the images that is held out as queries and gallery.
    """

    image_size: ImageSize = 160
    test_share: TestShare = 0.2

    def splits(self, seed: int) -> Splits:
        return landmark_splits(
            "paris6k",
            Path(self.root).expanduser(),
            "paris",
            r"paris_(.+)_\d+",
            "unpack paris_1.tgz and paris_2.tgz from https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/ there",
            self.test_share,
            seed,
        )
