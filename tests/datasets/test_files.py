from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from compress.datasets._files import drop_duplicates, stable_id
from compress.datasets._listing import find_files, find_images


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_order_is_that_of_the_posix_path(tmp_path: Path) -> None:
    for name in ("b/1.jpg", "a-b/1.jpg", "a/2.jpg", "a/10.jpg", "A/1.jpg", "Z.jpg"):
        touch(tmp_path / name)
    found = [stable_id(path, tmp_path) for path in find_images(tmp_path).images]
    assert found == ["A/1.jpg", "Z.jpg", "a-b/1.jpg", "a/10.jpg", "a/2.jpg", "b/1.jpg"]


def test_hidden_files_are_left_out_and_suffixes_have_any_case(tmp_path: Path) -> None:
    for name in (".DS_Store", "._1.jpg", ".git/x.jpg", "a/1.JPG", "a/2.Jpeg", "a/notes.txt", "a/3.webp"):
        touch(tmp_path / name)
    assert [path.name for path in find_images(tmp_path).images] == ["1.JPG", "2.Jpeg", "3.webp"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "1.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cats").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    assert [stable_id(path, root) for path in find_files(root)] == ["cats/1.jpg"]


def test_names_are_the_same_from_every_file_system(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Schäfchen/é.jpg")
    assert stable_id(tmp_path / decomposed, tmp_path) == unicodedata.normalize("NFC", "Schäfchen/é.jpg")
    undecodable = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    assert stable_id(undecodable, tmp_path) == r"caf\xe9.jpg"


def test_the_first_of_equal_files_is_kept(tmp_path: Path) -> None:
    contents = [b"aa", b"bb", b"aa", b"c", b"aa", b"bb", b"bB"]
    files = [touch(tmp_path / str(number), content) for number, content in enumerate(contents)]
    assert drop_duplicates(files).tolist() == [0, 1, 3, 6]


def test_only_files_of_equal_size_are_read(tmp_path: Path) -> None:
    files = [touch(tmp_path / str(size), b"x" * size) for size in range(3)]
    os.mkfifo(tmp_path / "pipe-that-nobody-writes")  # opening it would wait for ever
    unread = tmp_path / "unread"
    unread.symlink_to(tmp_path / "nothing")
    assert drop_duplicates([*files[1:], tmp_path / "pipe-that-nobody-writes", unread]).tolist() == [0, 1, 2, 3]
