"""SVHN, cropped digits: 73,257 + 26,032 house numbers, 32x32 colour, 10 classes.

Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, ChannelMean, ChannelStd, Dataset, ImageSize, MissingTool, Samples, Splits
from compress.datasets._download import download
from compress.datasets._files import array_samples, not_found

_MOST_BYTES = 2**29  # 73,257 images have 225 MB
_HEADER_BYTES, _COMPRESSED, _PART = 128, 15, 2**20


@dataclass(frozen=True, kw_only=True)
class Svhn(Dataset):
    """``train_32x32.mat`` and ``test_32x32.mat`` in ``root``.

    Attributes:
        download: download the files through torchvision if they are missing.
    """

    image_size: ImageSize = 32
    mean: ChannelMean = (0.4377, 0.4438, 0.4728)
    std: ChannelStd = (0.1980, 0.2010, 0.1970)
    download: bool = False

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        files = {split: root / f"{split}_32x32.mat" for split in ("train", "test")}
        for split, path in files.items():
            if not path.is_file() and self.download:
                download("SVHN", root, split=split)
            if not path.is_file():
                raise not_found(
                    "svhn",
                    [path],
                    f"get {path.name} from http://ufldl.stanford.edu/housenumbers/, or set data.download=true",
                )
        return Splits(tuple("0123456789"), _read(files["train"], "train"), _read(files["test"], "test"))


def _read(path: Path, split: str) -> Samples:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise MissingTool(
            "data.dataset=svhn needs the Python package 'scipy', which is not installed; "
            'install it with: pip install "compress-retrieval[train]"'
        ) from error
    try:
        _check_unpacked_size(path)
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1)
    except Exception as error:  # scipy raises errors of every kind from a damaged file
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not SVHN's MATLAB file ({reason}); get the file again") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3):
        raise BadInput(f"{path}: images {images.dtype} {images.shape} for {len(labels)} labels, expected 32x32 RGB")
    if not len(labels) or labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(1, 11)).all():
        raise BadInput(f"{path}: 'y' is not one number from 1 to 10 for each image; get the file again")
    # The file calls the digit 0 class 10.
    labels = labels.astype(np.int64) % 10
    return array_samples(np.ascontiguousarray(images), labels, split)


def _check_unpacked_size(path: Path) -> None:
    """Unpack a MATLAB 5 file piece by piece: a few megabytes may hold gigabytes of zeros.

    Raises:
        ValueError: it holds more than SVHN's own files.
    """
    unpacked = 0
    with path.open("rb") as file:
        file.seek(_HEADER_BYTES)
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack("<II", tag)
            if kind != _COMPRESSED:
                file.seek(size, os.SEEK_CUR)
                continue
            packed = zlib.decompressobj()
            while size and (part := file.read(min(size, _PART))):
                size -= len(part)
                while part and unpacked <= _MOST_BYTES:
                    unpacked += len(packed.decompress(part, _PART))
                    part = packed.unconsumed_tail
            if unpacked > _MOST_BYTES:
                raise ValueError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
