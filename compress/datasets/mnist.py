"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey, 10 classes.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compress.contracts import ChannelMean, ChannelStd, Dataset, ImageSize, Splits
from compress.datasets._download import download
from compress.datasets._files import not_found
from compress.datasets._idx import find_idx_folders, read_split

_CLASSES = tuple("0123456789")
# Data sets of other things in files of the same names, which torchvision keeps beside MNIST in one root.
_OTHERS = ("fashion", "kmnist", "emnist", "qmnist")


@dataclass(frozen=True, kw_only=True)
class Mnist(Dataset):
    """The four IDX files, gzipped or not, at or below ``root``.

    Attributes:
        download: download the files through torchvision if they are missing.
    """

    # Y. LeCun and C. Cortes hold the copyright; the licence is the one Keras's documentation gives for MNIST.
    images_license: ClassVar[str | None] = "CC-BY-SA-3.0"

    image_size: ImageSize = 28
    mean: ChannelMean = (0.1307, 0.1307, 0.1307)
    std: ChannelStd = (0.3081, 0.3081, 0.3081)
    download: bool = False

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        folder = self._find(root)
        if folder is None and self.download:
            download("MNIST", root)
            folder = self._find(root)
        if folder is None:
            raise not_found(
                "mnist",
                [root],
                "get train-images-idx3-ubyte.gz and its three companions from "
                "https://ossci-datasets.s3.amazonaws.com/mnist/, or set data.download=true",
            )
        return Splits(_CLASSES, read_split(folder, "train", _CLASSES), read_split(folder, "t10k", _CLASSES))

    def _find(self, root: Path) -> Path | None:
        below = ((folder, folder.relative_to(root).as_posix().lower()) for folder in find_idx_folders(root))
        return next((folder for folder, name in below if not any(other in name for other in _OTHERS)), None)
