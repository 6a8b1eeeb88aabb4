from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput
from compress.datasets._idx import find_idx_folders, read_idx, read_split


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def test_reads_plain_and_gzipped_whatever_the_name(tmp_path: Path, digit_images: np.ndarray) -> None:
    images = digit_images[:, 0]
    (tmp_path / "plain").write_bytes(idx(images))
    (tmp_path / "packed").write_bytes(gzip.compress(idx(images)))
    assert (read_idx(tmp_path / "plain", 3) == images).all()
    assert (read_idx(tmp_path / "packed", 3) == images).all()


CONTENT = idx(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "0 bytes, too short"),
        (CONTENT[:10], "10 bytes, too short"),
        (CONTENT[:-1], r"23 bytes of data, but its header \(2, 3, 4\) promises 24"),
        (CONTENT + b"x", "25 bytes of data"),
        (idx(np.arange(24)), "magic number 0x00000801, expected 0x00000803"),
        (b"<html>Not Found</html>", "magic number 0x3c68746d"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "promises 79228162458924105385300197375"),
        (gzip.compress(CONTENT, mtime=0)[:-9], "cannot be read"),
        (gzip.compress(CONTENT, mtime=0)[:-8] + b"\0" * 8, "cannot be read"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage)
    with pytest.raises(BadInput, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "{}-{}-idx{}-ubyte.gz"])
def test_finds_the_four_files_below_the_root(tmp_path: Path, write_idx: Callable[..., Path], name: str) -> None:
    write_idx(tmp_path / "some" / "where", name=name)
    assert find_idx_folders(tmp_path) == [tmp_path / "some" / "where"]
    assert len(read_split(tmp_path / "some" / "where", "train", "0123456789")) == 20


def test_three_of_four_files_are_not_the_data_set(tmp_path: Path, write_idx: Callable[..., Path]) -> None:
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    assert find_idx_folders(tmp_path) == []


def test_labels_must_fit_the_images(tmp_path: Path, write_idx: Callable[..., Path]) -> None:
    folder = write_idx(tmp_path)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(19) % 10))
    with pytest.raises(BadInput, match="19 labels for the 20 images of train-images-idx3-ubyte"):
        read_split(folder, "train", "0123456789")
    with pytest.raises(BadInput, match="t10k-labels-idx1-ubyte: label 9, expected 0 to 4"):
        read_split(folder, "t10k", "01234")


def test_no_more_is_unpacked_than_the_header_promises(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT + bytes(2**26)))
    tracemalloc.start()
    with pytest.raises(BadInput, match=r"25 bytes of data or more, but its header \(2, 3, 4\) promises 24"):
        read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_images_without_pixels_are_named(tmp_path: Path, write_idx: Callable[..., Path]) -> None:
    folder = write_idx(tmp_path)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 0, 28))))
    with pytest.raises(BadInput, match="train-images-idx3-ubyte: images of 0 x 28 pixels"):
        read_split(folder, "train", "0123456789")
