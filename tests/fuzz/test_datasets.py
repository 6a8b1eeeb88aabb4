"""Folders of photographs as strangers leave them: every kind of file, under every name."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compress.data.load import load_data
from compress.datasets.image_folder import ImageFolder
from compress.datasets.image_lists import ImageLists
from tests.fuzz._guard import guarded, share

_FOLDERS = ["a", "b", "c", "train/a", "train/b", "test/a", "test/b", "val/a", "__MACOSX/a", ".hidden/a", "a/b/c", "é"]
_FILES = ["1.jpg", "2.jpg", "3.png", "x.JPG", "no suffix", ".hidden.jpg", "n" * 240 + ".jpg", "\x1b[2J.png", "q.txt"]
_KINDS = ["picture", "picture", "picture", "same", "tiny", "text", "cut", "empty", "FIFO", "link", "loop", "folder"]


def _picture(number: int, size: int = 24) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((size, size), 20 + number % 60).save(content, "JPEG")
    return content.getvalue()


SAME, PICTURES = _picture(0), [_picture(number) for number in range(40)]


def _make(path: Path, kind: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        return
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind in ("link", "loop"):
        path.symlink_to(path.parent if kind == "loop" else "missing")
    elif kind == "folder":
        path.mkdir()
    else:
        picture = PICTURES[number % len(PICTURES)]
        contents = {"picture": picture, "same": SAME, "text": b"no picture", "cut": picture[:100], "empty": b""}
        path.write_bytes(contents.get(kind, _picture(number, 1)))


TREES = st.lists(
    st.tuples(st.sampled_from(_FOLDERS), st.sampled_from(_FILES), st.sampled_from(_KINDS), st.integers(0, 39)),
    max_size=40,
)


@share(0.1)
@given(tree=TREES)
def test_a_folder(tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[str, str, str, int]]) -> None:
    root = tmp_path_factory.getbasetemp() / "photos"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for folder, name, kind, number in tree:
        if not any(above.is_symlink() or above.is_file() for above in (root / folder / name).parents):
            _make(root / folder / name, kind, number)
    with guarded() as refused:
        load_data(ImageFolder(root=str(root), image_size=8, cache="none"), seed=0)
    assert refused or tree
    assert all(str(error) for error in refused)


_LINES = st.lists(
    st.one_of(
        st.sampled_from(["a/1.jpg", "a/2.jpg", "b/1.jpg,b", "./b/2.jpg", "a/1.jpg,a", "path,class", "# no", "", ",,,"]),
        st.sampled_from(["../secret", "/etc/passwd", "a/1.jpg,b/1.jpg", "a/1.jpg,b/1.jpg,junk", '"', "a" * 9000]),
        st.text(max_size=20),
    ),
    max_size=8,
).map("\n".join)


@share(0.03)
@given(queries=_LINES, gallery=_LINES, pairs=_LINES)
def test_lists(tmp_path_factory: pytest.TempPathFactory, queries: str, gallery: str, pairs: str) -> None:
    root = tmp_path_factory.getbasetemp() / "lists"
    for folder in ("a", "b"):
        for number in (1, 2):
            _make(root / folder / f"{number}.jpg", "picture", number)
    for name, text in {"queries": queries, "gallery": gallery, "pairs": pairs}.items():
        (root / f"{name}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    for chosen in ({}, {"gallery": "gallery.txt"}, {"gallery": "gallery.txt", "pairs": "pairs.txt"}):
        with guarded() as refused:
            load_data(ImageLists(root=str(root), image_size=8, cache="none", **chosen), seed=0)
        assert refused or queries.strip()
