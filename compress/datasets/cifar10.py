"""CIFAR-10: 50,000 + 10,000 colour pictures, 32x32, 10 classes.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import codecs
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import BadInput, ChannelMean, ChannelStd, Dataset, ImageSize, Samples, Splits
from compress.datasets._download import download
from compress.datasets._files import array_samples, not_found
from compress.datasets._tree import read_divided, split_folders

_FOLDER = "cifar-10-batches-py"


@dataclass(frozen=True, kw_only=True)
class Cifar10(Dataset):
    """``cifar-10-batches-py``, or image files as train/CLASS/ and test/CLASS/, in ``root``.

    Attributes:
        download: fetch the batches through torchvision when neither is there.
    """

    image_size: ImageSize = 32
    mean: ChannelMean = (0.4914, 0.4822, 0.4465)
    std: ChannelStd = (0.2470, 0.2435, 0.2616)
    download: bool = False

    def splits(self, seed: int) -> Splits:
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
        classes = tuple(str(name) for name in _unpickle(folder / "batches.meta", "label_names"))
        train = [folder / f"data_batch_{number}" for number in range(1, 6)]
        return Splits(classes, _read(train, "train", classes), _read([folder / "test_batch"], "test", classes))


def _read(batches: list[Path], split: str, classes: tuple[str, ...]) -> Samples:
    images, labels = [], []
    for path in batches:
        pixels, numbers = _unpickle(path, "data"), np.array(_unpickle(path, "labels"))
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(numbers), 3072):
            raise BadInput(f"{path}: 'data' is not uint8 [{len(numbers)}, 3072]; unpack the archive again")
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
            raise BadInput(f"{path}: labels {numbers.min()} to {numbers.max()}, expected 0 to {len(classes) - 1}")
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(numbers)
    return array_samples(np.concatenate(images), np.concatenate(labels), split)


def _unpickle(path: Path, key: str) -> Any:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
        return content[key]
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; unpack the archive again") from error
    except Exception as error:  # a damaged pickle raises errors of every kind
        raise BadInput(f"{path}: not a CIFAR-10 batch with '{key}' ({error}); unpack the archive again") from error


class _ArraysOnly(pickle.Unpickler):
    """A pickle can call any function; these files need only what builds an array."""

    _ALLOWED = {  # noqa: RUF012
        "_reconstruct": np.empty(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        "encode": codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "_codecs") and name in self._ALLOWED:
            return self._ALLOWED[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
