from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def write_idx(digit_images: np.ndarray) -> Callable[..., Path]:
    """write_idx(folder, first=0) writes 20 training and 10 test digits; labels 0, 1, … 9, 0, 1, …"""

    def write(folder: Path, first: int = 0, name: str = "{}-{}-idx{}-ubyte") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for split, start, stop in (("train", first, first + 2), ("t10k", first + 2, first + 3)):
            images = digit_images[:, start:stop].swapaxes(0, 1).reshape(-1, 28, 28)
            labels = np.arange(len(images), dtype=np.uint8) % 10
            for kind, array in (("images", images), ("labels", labels)):
                header = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
                path = folder / name.format(split, kind, array.ndim)
                content = header + array.tobytes()
                path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return folder

    return write
