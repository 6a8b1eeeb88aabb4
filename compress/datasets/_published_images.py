"""Images that a benchmark's own code decodes in its own way, and a folder of other landmarks to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, PublishedImage, Samples
from compress.datasets._files import file_samples
from compress.datasets._tree import Tree, read_tree, two_classes


def published(files: Sequence[Path], labels: Sequence[int] | np.ndarray, root: Path) -> Samples:
    """Samples of files that are decoded as ``PublishedImage`` says."""
    return replace(file_samples(files, labels, root), images=[PublishedImage(path) for path in files])


def training_tree(train: str) -> Tree:
    """Read the folder that ``data.train`` names, CLASS/**. Raises BadInput if it is not there or has one class."""
    folder = Path(train).expanduser()
    if not folder.is_dir():
        raise BadInput(
            f"data.train: there is no folder {folder.absolute()}; name one that holds other landmarks as CLASS/*.jpg, "
            "or set it to null and give a checkpoint"
        )
    tree = read_tree(folder)
    two_classes(tree)
    return tree


def training_images(tree: Tree, classes: tuple[str, ...]) -> Samples:
    """The tree's images, with ids below ``train/``."""
    samples = published(*tree.labelled(classes), tree.folder)
    return Samples(samples.images, samples.labels, tuple(f"train/{name}" for name in samples.ids))


def named_train(skipped: dict[str, str]) -> dict[str, str]:
    return {f"train/{name}": reason for name, reason in skipped.items()}
