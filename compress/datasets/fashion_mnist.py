"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28 grey, 10 classes.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking", arXiv:1708.07747 (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compress.contracts import ChannelMean, ChannelStd, Dataset, ImageSize, Splits
from compress.datasets._download import download
from compress.datasets._files import not_found
from compress.datasets._idx import find_idx_folders, read_split

_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Where Debian's package dataset-fashion-mnist puts the files.
_DEBIAN = Path("/usr/share/dataset/fashion-mnist")


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """The four IDX files, gzipped or not, at or below ``root``, otherwise those of Debian's dataset-fashion-mnist.

    Attributes:
        download: download the files through torchvision if they are missing.
    """

    images_license: ClassVar[str | None] = "MIT"

    image_size: ImageSize = 28
    mean: ChannelMean = (0.2860, 0.2860, 0.2860)
    std: ChannelStd = (0.3530, 0.3530, 0.3530)
    download: bool = False

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        folder = self._find(root)
        if folder is None and self.download:
            download("FashionMNIST", root)
            folder = self._find(root)
        if folder is None:
            raise not_found(
                "fashion_mnist",
                [root, _DEBIAN],
                "get train-images-idx3-ubyte.gz and its three companions from "
                "https://github.com/zalandoresearch/fashion-mnist, set data.download=true, "
                "or install Debian's package dataset-fashion-mnist",
            )
        return Splits(_CLASSES, read_split(folder, "train", _CLASSES), read_split(folder, "t10k", _CLASSES))

    def _find(self, root: Path) -> Path | None:
        found = find_idx_folders(root)
        # MNIST's own files have the same names, so a folder that says what it holds comes first.
        named = [folder for folder in found if "fashion" in folder.relative_to(root).as_posix().lower()]
        unnamed = [folder for folder in found if folder == root]
        return next(iter([*named, *unnamed, *find_idx_folders(_DEBIAN)]), None)
