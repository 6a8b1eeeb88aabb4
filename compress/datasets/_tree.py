"""Data sets kept as ROOT/train/CLASS/** and ROOT/test/CLASS/**, or as ROOT/CLASS/**."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Samples, Splits
from compress.data.splits import stratified_split
from compress.datasets._files import file_samples, first_copies, pick, stable_id
from compress.datasets._listing import SUFFIXES, find_images, list_folders, skipped_ids, subfolders

VALIDATION_NAMES = ("validation", "val", "valid")


@dataclass(frozen=True)
class Tree:
    """The images of FOLDER/CLASS/**.

    Attributes:
        folder: that folder.
        images: of each class, by its name, in order; none is empty.
        left_out: everything else, with the reason.
    """

    folder: Path
    images: Mapping[str, list[Path]]
    left_out: Mapping[Path, str]

    def labelled(self, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
        """The images and their indices into ``classes``.

        Raises:
            BadInput: a folder is none of the classes, or there is none.
        """
        number = {name: label for label, name in enumerate(classes)}
        if unknown := [name for name in self.images if name not in number]:
            raise BadInput(
                f"data.root: class folder {(self.folder / unknown[0]).absolute()} has no counterpart among the "
                f"training classes ({', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}); rename or remove it"
            )
        if not self.images:
            raise BadInput(f"data.root: {self.folder.absolute()} has no class folders")
        pairs = [(path, number[name]) for name, images in self.images.items() for path in images]
        return [path for path, _ in pairs], [label for _, label in pairs]


def read_tree(folder: Path) -> Tree:
    """Find the images of every class folder in ``folder``.

    Raises:
        BadInput: a class folder holds files, but no image; the message says which.
    """
    folders, left_out = list_folders(folder)
    images = {}
    for path in folders:
        listing = find_images(path)
        left_out |= listing.left_out
        if listing.images:
            images[stable_id(path, folder)] = listing.images
        elif others := [each for each in listing.left_out if not each.name.startswith(".")]:
            suffixes = Counter(each.suffix.lower() or each.name for each in others)
            instead = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(3))
            raise BadInput(
                f"data.root: class folder {path.absolute()} holds no image ({' '.join(sorted(SUFFIXES))}) but "
                f"{instead} ({others[0].name}: {listing.left_out[others[0]]}); put images there or remove the folder"
            )
        else:
            left_out[path] = "an empty class folder"
    return Tree(folder, images, left_out)


def split_folders(root: Path) -> tuple[list[Path], Path] | None:
    """Find the folders of training images and the folder of test images; None if ``root`` is not divided.

    ``validation`` belongs to training; where there is no ``test``, it is the test set.
    """
    by_name = {path.name.lower(): path for path in subfolders(root)}
    validation = [by_name[name] for name in VALIDATION_NAMES if name in by_name]
    if "train" not in by_name or not ("test" in by_name or validation):
        return None
    if "test" in by_name:
        return [by_name["train"], *validation], by_name["test"]
    return [by_name["train"], *validation[1:]], validation[0]


def read_divided(root: Path, train: list[Path], test: Path, *, deduplicate: bool) -> Splits:
    """Make splits from the folders. A test image that is a copy of a training image is left out."""
    trees = [read_tree(folder) for folder in (*train, test)]
    classes = two_classes(trees[0])
    if not {name.casefold() for name in trees[-1].images} & {name.casefold() for name in classes}:
        classes = (*classes, *trees[-1].images)  # an open set: the test classes do not train
    parts = [tree.labelled(classes) for tree in trees]
    files = [path for found, _ in parts for path in found]
    labels = [label for _, found in parts for label in found]
    samples = file_samples(files, labels, root)
    first = first_copies(files)
    kept = np.flatnonzero(first == np.arange(len(files))) if deduplicate else np.arange(len(files))
    boundary = len(files) - len(parts[-1][0])
    folders, left_out = list_folders(root)
    unused = {path: "neither train, validation nor test" for path in folders if path not in (*train, test)}
    return Splits(
        classes,
        pick(samples, kept[kept < boundary]),
        pick(samples, kept[kept >= boundary]),
        duplicates=len(files) - len(kept),
        skipped=skipped_ids({**left_out, **unused, **all_left_out(trees)}, root),
        in_two_classes=_in_two_classes(samples, first),
    )


def read_whole(root: Path, test_share: float, seed: int, *, deduplicate: bool) -> Splits:
    """A seeded split within each class of ROOT/CLASS/**."""
    tree = read_tree(root)
    classes = two_classes(tree)
    files, labels = tree.labelled(classes)
    samples = file_samples(files, labels, root)
    first = first_copies(files)
    kept = np.flatnonzero(first == np.arange(len(files))) if deduplicate else np.arange(len(files))
    return replace(
        divide(classes, pick(samples, kept), test_share, seed),
        duplicates=len(files) - len(kept),
        skipped=skipped_ids(tree.left_out, root),
        in_two_classes=_in_two_classes(samples, first),
    )


def divide(classes: tuple[str, ...], samples: Samples, test_share: float, seed: int) -> Splits:
    """A seeded split within each class.

    Raises:
        BadInput: the classes are too small to leave an image for testing.
    """
    train, test = stratified_split(samples.labels, test_share, seed)
    if not len(test):
        raise BadInput(
            f"data.test_share={test_share}: {len(samples)} images in {len(classes)} classes leave none for testing; "
            "add images or raise it"
        )
    return Splits(classes, pick(samples, train), pick(samples, test))


def two_classes(tree: Tree) -> tuple[str, ...]:
    """The names of the tree's classes.

    Raises:
        BadInput: there are fewer than two.
    """
    names = tuple(tree.images)
    if len(names) < 2:
        found = f"only one class folder, {names[0]}" if names else "no class folders"
        raise BadInput(
            f"data.root: {tree.folder.absolute()} has {found}; expected two or more folders CLASS/ that hold the "
            "images of one class each, or train/CLASS/ and test/CLASS/"
        )
    return names


def all_left_out(trees: Sequence[Tree]) -> dict[Path, str]:
    return {path: reason for tree in trees for path, reason in tree.left_out.items()}


def _in_two_classes(samples: Samples, first: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Ids of files with the same content and other labels; ``first`` is that of ``first_copies``."""
    rows = np.flatnonzero(samples.labels[first] != samples.labels)
    return tuple((samples.ids[first[row]], samples.ids[row]) for row in rows)
