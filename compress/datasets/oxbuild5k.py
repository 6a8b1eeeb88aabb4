"""Oxford Buildings (Oxbuild5k): 5,062 photographs; 17 classes by file-name prefix, as in the OMCBIR paper.

J. Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Dataset, ImageSize, Splits, TestShare
from compress.datasets._landmarks import landmark_splits


@dataclass(frozen=True, kw_only=True)
class Oxbuild5k(Dataset):
    """``all_souls_000013.jpg`` and the like, in ``root``/oxbuild_images or at or below ``root``.

    Attributes:
        test_share: share of the images that is held out as queries and gallery.
    """

    image_size: ImageSize = 160
    test_share: TestShare = 0.2

    def splits(self, seed: int) -> Splits:
        return landmark_splits(
            "oxbuild5k",
            Path(self.root).expanduser(),
            "oxbuild_images",
            r"(.+)_\d+",
            "unpack oxbuild_images.tgz from https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/ there",
            self.test_share,
            seed,
        )
