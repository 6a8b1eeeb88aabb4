"""Caltech-256: 29,780 photographs of objects in 256 classes, and 827 of background clutter.

G. Griffin, A. Holub, P. Perona, "Caltech-256 object category dataset", 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import BadInput, Dataset, Splits, TestShare
from compress.datasets._download import download
from compress.datasets._files import class_images, file_samples, not_found, stable_id, subfolders
from compress.datasets._tree import divide

_FOLDER = "256_ObjectCategories"
_CLUTTER = "clutter"


@dataclass(frozen=True, kw_only=True)
class Caltech256(Dataset):
    """256_ObjectCategories/NNN.name/*.jpg; ``root`` is that folder or one that holds it.

    Attributes:
        test_share: share of each class that is held out as queries and gallery.
        clutter: also take 257.clutter, which is no class of objects.
        download: fetch the archive through torchvision when it is not there.
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
        folders = [path for path in subfolders(home) if self.clutter or _name(path) != _CLUTTER]
        if len(folders) < 2:
            raise BadInput(f"data.root: {home.absolute()} has {len(folders)} class folders NNN.name, two are needed")
        files: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            # 056.dog has a folder of other people's pictures inside.
            images = [path for path in class_images(folder) if path.parent == folder]
            files += images
            labels += [label] * len(images)
        classes = tuple(_name(folder) for folder in folders)
        return divide(classes, file_samples(files, labels, home), self.test_share, seed)


def _name(folder: Path) -> str:
    """``001.ak47`` -> ``ak47``."""
    name = stable_id(folder, folder.parent)
    return name.partition(".")[2] or name
