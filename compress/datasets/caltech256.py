"""Caltech-256: 29,780 photographs of objects in 256 classes, and 827 of background clutter.

G. Griffin, A. Holub, P. Perona, "Caltech-256 object category dataset", 2007.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Dataset, Splits, TestShare
from compress.datasets._download import download
from compress.datasets._files import file_samples, not_found
from compress.datasets._listing import skipped_ids
from compress.datasets._tree import divide, read_tree

_FOLDER = "256_ObjectCategories"
_CLUTTER = "clutter"


@dataclass(frozen=True, kw_only=True)
class Caltech256(Dataset):
    """256_ObjectCategories/NNN.name/*.jpg; ``root`` is that folder or one that holds it.

    Attributes:
        test_share: share of each class that is held out as queries and gallery.
        clutter: also take 257.clutter, which is not a class of objects.
        download: download the archive through torchvision if it is missing.
    """

    test_share: TestShare = 0.2
    clutter: bool = False
    download: bool = False

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        # torchvision makes a folder caltech256 of its own.
        places = [root / _FOLDER, root / "caltech256" / _FOLDER, *([root] if root.name == _FOLDER else [])]
        if not any(place.is_dir() for place in places) and self.download:
            download("Caltech256", root)
        home = next((place for place in places if place.is_dir()), None)
        if home is None:
            raise not_found(
                "caltech256",
                places,
                "unpack 256_ObjectCategories.tar from https://data.caltech.edu/records/nyy15-4j048 there, "
                "or set data.download=true",
            )
        tree = read_tree(home)
        left_out = dict(tree.left_out)
        found: dict[str, list[Path]] = {}
        for folder, images in tree.images.items():
            if _name(folder) == _CLUTTER and not self.clutter:
                left_out[home / folder] = "no class of objects"
                continue
            # 056.dog has a folder of other people's pictures inside.
            left_out |= {path: "lies in a folder inside its class" for path in images if path.parent != home / folder}
            found[_name(folder)] = [path for path in images if path not in left_out]
        if len(found) < 2:
            raise BadInput(f"data.root: {home.absolute()} has {len(found)} class folders NNN.name, two are needed")
        files = [path for images in found.values() for path in images]
        labels = np.repeat(np.arange(len(found)), [len(images) for images in found.values()])
        splits = divide(tuple(found), file_samples(files, labels, home), self.test_share, seed)
        return replace(splits, skipped=skipped_ids(left_out, home))


def _name(folder: str) -> str:
    """``001.ak47`` -> ``ak47``."""
    return folder.partition(".")[2] or folder
