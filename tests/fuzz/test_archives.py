"""Archives and tables of strangers: IDX, pickles, TorchScript, SQLite, safetensors, with bytes changed."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.datasets._idx import read_idx
from compress.datasets._pickle import read_pickle
from compress.gallery.store import read_gallery, read_thumbnail
from compress.indexes.lsh import Lsh
from compress.model.checkpoint import load_model
from tests import _pooled
from tests.fuzz._guard import guarded, share
from tests.model.test_checkpoint import write_checkpoint
from validators.pytorch_mobile import inspect


def _idx(path: Path, images: np.ndarray) -> None:
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + images[0, :2].tobytes()))


def _pickled(path: Path, images: np.ndarray) -> None:
    path.write_bytes(pickle.dumps({"data": images[0, :2], "labels": [0, 1]}, protocol=2))


def _torchscript(path: Path, images: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/version", "3")
        archive.writestr("net/bytecode.pkl", pickle.dumps((8, ("f", (("operators", (("aten::conv2d", ""),)),)))))


KINDS: dict[str, tuple[Callable[[Path, np.ndarray], object], Callable[[Path], object]]] = {
    "IDX": (_idx, lambda path: read_idx(path, 3)),
    "pickle": (_pickled, lambda path: read_pickle(path, "data", "a batch")),
    "TorchScript": (_torchscript, lambda path: inspect(path, lite=True)),
    "safetensors": (lambda path, images: write_checkpoint(path), load_model),
    "gallery": (lambda path, images: _pooled.write(path, _pooled.images(images, 1)), read_gallery),
    "thumbnail": (
        lambda path, images: _pooled.write(path, _pooled.images(images, 1)),
        lambda path: read_thumbnail(path, 3),
    ),
    "LSH": (
        lambda path, images: Lsh(tables=2).build(path, np.ones((10, 4), np.float32), "l2", 0),
        lambda path: Lsh(tables=2).open(path, np.ones((10, 4), np.float32), "l2"),
    ),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, digit_images: np.ndarray) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("archives")
    for kind, (write, read) in KINDS.items():
        write(folder / kind, digit_images)
        read(folder / kind)
    return {kind: (folder / kind).read_bytes() for kind in KINDS}


@share(0.25)
@given(data=st.data())
def test_changed_bytes(
    originals: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    content = bytearray(originals[kind])
    for _ in range(data.draw(st.integers(0, 8))):
        # Headers are short, and most of what can go wrong is in them.
        position = data.draw(st.one_of(st.integers(0, min(200, len(content) - 1)), st.integers(0, len(content) - 1)))
        content[position] = data.draw(st.integers(0, 255))
    kept = data.draw(st.sampled_from([len(content), len(content), data.draw(st.integers(0, len(content)))]))
    path = tmp_path_factory.getbasetemp() / "archive"
    path.write_bytes(content[:kept])
    with guarded() as refused:
        KINDS[kind][1](path)
    assert not refused or content[:kept] != originals[kind]
    assert not [error for error in refused if "\n" in str(error)]
