"""Bundles of strangers: by file, and by value of bundle.json."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Finished
from tests.fuzz._bundles import copied, rewrite, small, use
from tests.fuzz._guard import share
from tests.fuzz._hostile import VALUES, locations, replaced

NOT_IN_A_HASH = ("bundle.json", "report.html", ".compress")
"""What ``verify`` cannot tell from the original without a signature: only a signature covers the manifest itself."""


@pytest.fixture(scope="module")
def bundle(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(finished.folder, tmp_path_factory.mktemp("fuzz") / "original")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody reads or writes here."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text("private")
    return folder


@pytest.fixture(scope="module")
def names(bundle: Path) -> list[str]:
    return sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())


def _socket(path: Path) -> None:
    # A socket is made with a name of at most 107 bytes.
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(path.parent):
        listening.bind("s")
        Path("s").rename(path.name)


def _changes(outside: Path) -> dict[str, Callable[[Path, bytes, int], object]]:
    """Name -> (path of a file that is gone, its content, a random number) -> what is there instead."""

    def flip(path: Path, content: bytes, number: int) -> None:
        position = number % max(1, len(content))
        path.write_bytes(content[:position] + bytes([content[position] ^ (1 + number % 255)]) + content[position + 1 :])

    return {
        "flip": flip,
        "truncate": lambda path, content, number: path.write_bytes(content[: number % max(1, len(content))]),
        "extend": lambda path, content, number: path.write_bytes(content + bytes(1 + number % 5000)),
        "empty": lambda path, content, number: path.write_bytes(b""),
        "zeros": lambda path, content, number: path.write_bytes(bytes(len(content))),
        "repeat": lambda path, content, number: path.write_bytes(content * 2),
        "delete": lambda path, content, number: None,
        "link outside": lambda path, content, number: path.symlink_to(outside / "secret"),
        "link to a folder outside": lambda path, content, number: path.symlink_to(outside),
        "link to nothing": lambda path, content, number: path.symlink_to(outside / "missing"),
        "link to itself": lambda path, content, number: path.symlink_to(path.name),
        "link to a device": lambda path, content, number: path.symlink_to("/dev/zero"),
        "FIFO": lambda path, content, number: os.mkfifo(path),
        "socket": lambda path, content, number: _socket(path),
        "folder": lambda path, content, number: path.mkdir(),
    }


CHANGES = sorted(_changes(Path()))


def test_the_bundle_as_it_is_passes(bundle: Path, outside: Path, names: list[str], tmp_path: Path) -> None:
    assert len(names) > 50
    with copied(bundle, tmp_path / "x") as folder:
        assert use(folder, bundle, outside)


@share(0.1)
@given(data=st.data())
def test_a_changed_file(
    bundle: Path, outside: Path, names: list[str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(names))
    change = data.draw(st.sampled_from(CHANGES))
    number = data.draw(st.integers(0, 2**32))
    with copied(bundle, tmp_path_factory.getbasetemp() / "file") as folder:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        _changes(outside)[change](folder / name, content, number)
        same = (folder / name).is_file() and (folder / name).read_bytes() == content
        green = use(folder, bundle, outside)
    assert same or name.startswith(NOT_IN_A_HASH) or not green, (name, change)


@share(0.02)
@given(
    parent=st.sampled_from(["", "artifacts", "golden", "golden/images", "gallery", "worst", "checkpoints"]),
    change=st.sampled_from(CHANGES),
    name=st.sampled_from(["x", ".bundle.json.unfinished", ".report.html.unfinished", "n" * 255, "é\x1b[2J\n", "..."]),
)
def test_an_added_file(
    bundle: Path, outside: Path, tmp_path_factory: pytest.TempPathFactory, parent: str, change: str, name: str
) -> None:
    with copied(bundle, tmp_path_factory.getbasetemp() / "added") as folder:
        if (folder / parent).is_dir():
            _changes(outside)[change](folder / parent / name, b"content", 5)
        added = (folder / parent / name).is_file()
        assert not use(folder, bundle, outside) or not added


@share(0.02)
@given(
    folder_name=st.sampled_from(["artifacts", "golden", "golden/images", "gallery", "worst", "checkpoints"]),
    target=st.sampled_from(["outside", "itself", "nothing", "a file"]),
)
def test_a_folder_that_is_something_else(
    bundle: Path, outside: Path, tmp_path_factory: pytest.TempPathFactory, folder_name: str, target: str
) -> None:
    with copied(bundle, tmp_path_factory.getbasetemp() / "folder") as folder:
        shutil.rmtree(folder / folder_name)
        if target == "a file":
            (folder / folder_name).write_text("x")
        else:
            (folder / folder_name).symlink_to({"outside": outside, "itself": folder}.get(target, folder / "nothing"))
        assert not use(folder, bundle, outside)


@share(0.06)
@given(data=st.data())
def test_a_changed_value(
    bundle: Path, outside: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    manifest: Any = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    location, new = data.draw(st.sampled_from(locations(manifest))), data.draw(VALUES)
    with copied(bundle, tmp_path_factory.getbasetemp() / "value") as folder:
        rewrite(folder / "bundle.json", json.dumps(replaced(manifest, location, new)).encode())
        green = use(folder, bundle, outside)
    same = json.dumps(replaced(manifest, location, new)) == json.dumps(manifest)
    assert same or not green, (location, new)


@share(0.02)
@given(data=st.data())
def test_a_changed_value_elsewhere(
    bundle: Path, outside: Path, names: list[str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name for name in ("golden/golden.json", "rankings.json") if name in names]))
    value: Any = json.loads((bundle / name).read_text(encoding="utf-8"))
    location, new = data.draw(st.sampled_from(locations(value))), data.draw(VALUES)
    with copied(bundle, tmp_path_factory.getbasetemp() / "elsewhere") as folder:
        rewrite(folder / name, json.dumps(replaced(value, location, new)).encode())
        green = use(folder, bundle, outside)
    assert not green or replaced(value, location, new) == value
