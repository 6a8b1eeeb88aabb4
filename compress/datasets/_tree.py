"""Data sets kept as ROOT/train/CLASS/** and ROOT/test/CLASS/**, or as ROOT/CLASS/**."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Samples, Splits
from compress.data.splits import stratified_split
from compress.datasets._files import class_images, drop_duplicates, file_samples, pick, stable_id, subfolders

VALIDATION_NAMES = ("validation", "val", "valid")


def split_folders(root: Path) -> tuple[list[Path], Path] | None:
    """The folders of training images and the folder of test images; None where ``root`` is not divided.

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
    """Splits as the folders give them. A copy of a training image among the test images is dropped from the test."""
    classes = class_names(train[0])
    train_parts = [read_classes(folder, classes) for folder in train]
    train_files = [path for files, _ in train_parts for path in files]
    train_labels = [label for _, labels in train_parts for label in labels]
    test_files, test_labels = read_classes(test, classes)
    train_samples = file_samples(train_files, train_labels, root)
    test_samples = file_samples(test_files, test_labels, root)
    if not deduplicate:
        return Splits(classes, train_samples, test_samples)
    kept = drop_duplicates([*train_files, *test_files])
    boundary = len(train_files)
    return Splits(
        classes,
        pick(train_samples, kept[kept < boundary]),
        pick(test_samples, kept[kept >= boundary] - boundary),
        duplicates=boundary + len(test_files) - len(kept),
    )


def read_whole(root: Path, test_share: float, seed: int, *, deduplicate: bool) -> Splits:
    """A seeded split within each class of ROOT/CLASS/**."""
    classes = class_names(root)
    files, labels = read_classes(root, classes)
    samples = file_samples(files, labels, root)
    kept = drop_duplicates(files) if deduplicate else np.arange(len(files))
    samples = pick(samples, kept)
    return divide(classes, samples, test_share, seed, duplicates=len(files) - len(kept))


def divide(classes: tuple[str, ...], samples: Samples, test_share: float, seed: int, *, duplicates: int = 0) -> Splits:
    """A seeded split within each class.

    Raises:
        BadInput: the classes are so small that no image is left for testing.
    """
    train, test = stratified_split(samples.labels, test_share, seed)
    if not len(test):
        raise BadInput(
            f"data.test_share={test_share}: {len(samples)} images in {len(classes)} classes leave none for testing; "
            "add images or raise it"
        )
    return Splits(classes, pick(samples, train), pick(samples, test), duplicates)


def class_names(root: Path) -> tuple[str, ...]:
    """The names of the class folders.

    Raises:
        BadInput: there are fewer than two.
    """
    names = tuple(stable_id(path, root) for path in subfolders(root))
    if len(names) < 2:
        found = f"only one class folder, {names[0]}" if names else "no class folders"
        raise BadInput(
            f"data.root: {root.absolute()} has {found}; expected two or more folders CLASS/ that hold the images of "
            "one class each, or train/CLASS/ and test/CLASS/"
        )
    return names


def read_classes(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """The images of every class folder in ``folder``, and their indices into ``classes``.

    Raises:
        BadInput: a folder is none of the classes, holds no image, or there is none.
    """
    number = {name: label for label, name in enumerate(classes)}
    files: list[Path] = []
    labels: list[int] = []
    for path in subfolders(folder):
        name = stable_id(path, folder)
        if name not in number:
            raise BadInput(
                f"data.root: class folder {path.absolute()} has no counterpart among the training classes "
                f"({', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}); rename or remove it"
            )
        images = class_images(path)
        files += images
        labels += [number[name]] * len(images)
    if not files:
        raise BadInput(f"data.root: {folder.absolute()} has no class folders")
    return files, labels
