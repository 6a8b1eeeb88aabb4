"""CIFAR-10: 50,000 + 10,000 colour pictures, 32x32, 10 classes.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from compress.contracts import BadInput, ChannelMean, ChannelStd, Dataset, ImageSize, Samples, Splits
from compress.data.splits import even_choice
from compress.datasets._download import download
from compress.datasets._files import array_samples, join, not_found, pick
from compress.datasets._pickle import integers, read_pickle, strings
from compress.datasets._tree import read_divided, split_folders

_FOLDER = "cifar-10-batches-py"
_BATCH = "a CIFAR-10 batch"
_QUERIES, _TRAINED = 100, 500
"""Of each class, in the protocols with few training images."""

Protocol = Literal["leave_one_out", "hashing_54k", "hashing_59k", "hashing_50k"]


@dataclass(frozen=True, kw_only=True)
class Cifar10(Dataset):
    """``cifar-10-batches-py``, or image files as train/CLASS/ and test/CLASS/, in ``root``.

    Attributes:
        protocol: which images train, query and are searched. ``leave_one_out``: the 50,000 training images train, each
            of the 10,000 test images searches all others. The other three are those of the papers on deep hashing,
            which report mAP over the whole ranking (in parentheses their names in the widely used DeepHash-pytorch):
            ``hashing_54k`` (cifar10), drawn by the seed from all 60,000: 100 queries and 500 training images of each
            class, a gallery of the other 54,000;
            ``hashing_59k`` (cifar10-1), the same with the training images in the gallery, 59,000;
            ``hashing_50k`` (cifar10-2): the 10,000 test images search the 50,000 training images.
        download: download the batches through torchvision if neither is there.
    """

    image_size: ImageSize = 32
    mean: ChannelMean = (0.4914, 0.4822, 0.4465)
    std: ChannelStd = (0.2470, 0.2435, 0.2616)
    protocol: Protocol = "leave_one_out"
    download: bool = False

    def splits(self, seed: int) -> Splits:
        published = self._published()
        if self.protocol == "leave_one_out":
            return published
        if self.protocol == "hashing_50k":
            return replace(published, gallery=published.train)
        return _few_trained(published, seed, trained_in_gallery=self.protocol == "hashing_59k")

    def _published(self) -> Splits:
        root = Path(self.root).expanduser()
        folder = root if root.name == _FOLDER else root / _FOLDER
        if not folder.is_dir() and root.is_dir() and (divided := split_folders(root)):
            return read_divided(root, *divided, deduplicate=False)
        if not folder.is_dir() and self.download:
            download("CIFAR10", root)
        if not folder.is_dir():
            raise not_found(
                "cifar10",
                [folder, root / "train", root / "test"],
                "unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there, or set data.download=true",
            )
        classes = _class_names(folder / "batches.meta")
        train = [folder / f"data_batch_{number}" for number in range(1, 6)]
        return Splits(classes, _read(train, "train", classes), _read([folder / "test_batch"], "test", classes))


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        names = strings(read_pickle(path, "label_names", _BATCH))
    except ValueError as error:
        raise BadInput(f"{path}: 'label_names' has {error}; unpack the archive again") from error
    return tuple(names)


def _few_trained(published: Splits, seed: int, *, trained_in_gallery: bool) -> Splits:
    everything = join(published.train, published.test)
    sizes = np.bincount(everything.labels, minlength=len(published.classes))
    if (needed := _QUERIES + _TRAINED) > sizes.min():
        raise BadInput(
            f"data.protocol: {needed} images of each class are drawn, class {published.classes[sizes.argmin()]} has "
            f"{sizes.min()}; use leave_one_out or get the whole data set"
        )
    queries = even_choice(everything.labels, _QUERIES * len(sizes), seed)
    rest = np.setdiff1d(np.arange(len(everything)), queries)
    trained = rest[even_choice(everything.labels[rest], _TRAINED * len(sizes), seed)]
    gallery = rest if trained_in_gallery else np.setdiff1d(rest, trained)
    return Splits(
        published.classes,
        pick(everything, trained),
        pick(everything, queries),
        published.duplicates,
        gallery=pick(everything, gallery),
    )


def _read(batches: list[Path], split: str, classes: tuple[str, ...]) -> Samples:
    images, labels = [], []
    for path in batches:
        pixels = read_pickle(path, "data", _BATCH)
        try:
            numbers = integers(read_pickle(path, "labels", _BATCH), len(classes))
        except ValueError as error:
            expected = f"expected 0 to {len(classes) - 1}"
            raise BadInput(f"{path}: 'labels' has {error}, {expected}; unpack the archive again") from error
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(numbers), 3072):
            raise BadInput(f"{path}: 'data' is not uint8 [{len(numbers)}, 3072]; unpack the archive again")
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(numbers)
    return array_samples(np.concatenate(images), np.concatenate(labels), split)
