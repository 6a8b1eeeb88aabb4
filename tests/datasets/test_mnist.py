from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput, MissingTool
from compress.datasets.mnist import Mnist
from compress.system.torchvision import import_torchvision


def test_images_and_labels_match(tmp_path: Path, write_idx: Callable[..., Path], digit_images: np.ndarray) -> None:
    write_idx(tmp_path, name="{}-{}-idx{}-ubyte.gz")
    splits = Mnist(root=str(tmp_path)).splits(seed=0)
    assert (len(splits.train), len(splits.test)) == (20, 10)
    for number, (image, label) in enumerate(zip(splits.train.images, splits.train.labels, strict=True)):
        assert (image == digit_images[label, number // 10]).all()
    assert splits.test.labels.dtype == np.int64
    assert splits.test.ids[:2] == ("test/00000", "test/00001")


def test_is_not_taken_in_by_the_files_of_other_sets(
    tmp_path: Path, write_idx: Callable[..., Path], digit_images: np.ndarray
) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", first=5)
    with pytest.raises(BadInput):
        Mnist(root=str(tmp_path)).splits(seed=0)
    write_idx(tmp_path / "MNIST" / "raw", first=7)
    assert (np.asarray(Mnist(root=str(tmp_path)).splits(seed=0).train.images)[0] == digit_images[0, 7]).all()


def test_missing_says_where_it_looked_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        Mnist(root="nowhere").splits(seed=0)
    message = str(caught.value)
    assert str(tmp_path / "nowhere") in message
    assert all(part in message for part in ("data.root", "https://", "data.download=true"))
    assert "\n" not in message


def test_downloads_through_torchvision_once(
    tmp_path: Path, write_idx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = write_idx(tmp_path / "served", name="{}-{}-idx{}-ubyte.gz")
    files = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in served.iterdir()]
    remote = import_torchvision().datasets.MNIST
    monkeypatch.setattr(remote, "resources", files)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "data"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(remote, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        splits = Mnist(root=str(root), download=True).splits(seed=0)
        server.shutdown()
    assert len(splits.train) == 20

    # The server is gone: what is there is used, what is not is an error.
    assert Mnist(root=str(root), download=True).splits(seed=0).train.ids == splits.train.ids
    with pytest.raises(MissingTool, match=r"data\.download: MNIST could not be downloaded") as caught:
        Mnist(root=str(tmp_path / "other"), download=True).splits(seed=0)
    assert "\n" not in str(caught.value)
