"""SUN397: 108,754 photographs of scenes in 397 classes.

J. Xiao et al., "SUN database: large-scale scene recognition from abbey to zoo", 2010. Divided as in the OMCBIR
paper: training and test images merged, exact duplicates dropped, sorted, then a random 8:2 split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import BadInput, Dataset, Splits, TestShare
from compress.data.splits import random_split
from compress.datasets._download import download
from compress.datasets._files import drop_duplicates, file_samples, not_found, pick, stable_id
from compress.datasets._listing import find_images, skipped_ids, subfolders


@dataclass(frozen=True, kw_only=True)
class Sun397(Dataset):
    """SUN397/<letter>/<class, possibly nested>/*.jpg; ``root`` is SUN397 or the folder that holds it.

    A class is named by its path below the letter, e.g. ``apartment_building/outdoor``.

    Attributes:
        test_share: share of the images that is held out as queries and gallery.
        download: download the 37 GB archive through torchvision if it is missing.
    """

    test_share: TestShare = 0.2
    download: bool = False

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        letters = _letters(root)
        if not letters and self.download:
            download("SUN397", root)
            letters = _letters(root)
        if not letters:
            raise not_found(
                "sun397",
                [root / "SUN397" / "a", root / "a"],
                "unpack http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz there, or set data.download=true",
            )
        home = letters[0].parent
        listings = [find_images(letter) for letter in letters]
        files = [path for listing in listings for path in listing.images]
        names = [_class_name(path, home) for path in files]
        classes = tuple(sorted(set(names)))
        if len(classes) < 2:
            raise BadInput(f"data.root: {home.absolute()} holds images of {len(classes)} classes, two are needed")
        number = {name: index for index, name in enumerate(classes)}
        kept = drop_duplicates(files)
        samples = pick(file_samples(files, [number[name] for name in names], home), kept)
        train, test = random_split(len(samples), self.test_share, seed)
        left_out = {path: reason for listing in listings for path, reason in listing.left_out.items()}
        return Splits(
            classes,
            pick(samples, train),
            pick(samples, test),
            duplicates=len(files) - len(kept),
            skipped=skipped_ids(left_out, home),
        )


def _letters(root: Path) -> list[Path]:
    """The folders a, b, c, … of SUN397."""
    for home in (root / "SUN397", root):
        if home.is_dir() and (found := [folder for folder in subfolders(home) if len(folder.name) == 1]):
            return found
    return []


def _class_name(path: Path, home: Path) -> str:
    parts = stable_id(path, home).split("/")[1:-1]
    if not parts:
        raise BadInput(f"data.root: {path.absolute()} is in no class folder; expected SUN397/<letter>/<class>/*.jpg")
    return "/".join(parts)
