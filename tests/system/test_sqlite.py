"""A gallery of strangers: whatever its tables are, reading it ends and takes little memory."""

from __future__ import annotations

import os
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput
from compress.gallery.store import read_gallery, read_thumbnail
from compress.system.sqlite import Reader
from tests import _pooled

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT"
HOSTILE = {
    "an endless view": (
        "DROP TABLE images",
        f"CREATE VIEW images AS {ENDLESS} i AS id, 'n' AS name, 'l' AS label, x'00' AS feature FROM n",
    ),
    "a view of large values": (
        "DROP TABLE meta",
        "CREATE VIEW meta AS SELECT 'schema' AS key, zeroblob(900000000) AS value",
    ),
    "a generated column": (
        "CREATE TABLE other (id INTEGER PRIMARY KEY, name TEXT, label TEXT, thumbnail BLOB)",
        "INSERT INTO other SELECT id, name, label, thumbnail FROM images",
        "DROP TABLE images",
        "ALTER TABLE other RENAME TO images",
        "ALTER TABLE images ADD COLUMN feature BLOB GENERATED ALWAYS AS (zeroblob(100000000))",
    ),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON images BEGIN SELECT 1; END",),
    "an index on an expression": ("CREATE INDEX i ON images (length(name))",),
    "a virtual table": ("CREATE VIRTUAL TABLE v USING fts5(text)",),
    "text in place of features": ("UPDATE images SET feature = 'text'",),
    "numbers in place of names": ("UPDATE images SET name = x'ff' WHERE id = 3",),
    "more images than rows": ("UPDATE meta SET value = '1000000000000' WHERE key = 'images'",),
    "a count that is text": ("""UPDATE meta SET value = '"30"' WHERE key = 'images'""",),
    "a dimension of 0": ("UPDATE meta SET value = '0' WHERE key = 'dim'", "UPDATE images SET feature = x''"),
    "a huge dimension": ("UPDATE meta SET value = '1000000000000000000' WHERE key = 'dim'",),
    "an integer of 5,000 digits": (f"UPDATE meta SET value = '1{'0' * 5000}' WHERE key = 'dim'",),
    "deep JSON": (f"UPDATE meta SET value = '{'[' * 50_000}' WHERE key = 'name'",),
    "another kind": ("""UPDATE meta SET value = '"x"' WHERE key = 'kind'""",),
    "another distance": ("UPDATE meta SET value = '[]' WHERE key = 'distance'",),
    "no meta": ("DROP TABLE meta",),
}


@pytest.fixture
def gallery(tmp_path: Path, digit_images: np.ndarray) -> Path:
    path = tmp_path / "g.sqlite"
    _pooled.write(path, _pooled.images(digit_images, 3))
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_a_gallery_that_would_mislead_hang_or_fill_memory(gallery: Path, what: str) -> None:
    with closing(sqlite3.connect(gallery, isolation_level=None)) as file:
        for statement in HOSTILE[what]:
            file.execute(statement)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="the gallery is damaged") as caught:
            read_gallery(gallery)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1


def test_a_sound_gallery_is_read(gallery: Path) -> None:
    assert len(read_gallery(gallery).names) == 30
    assert read_thumbnail(gallery, 29)[:2] == b"\xff\xd8"  # type: ignore[index]
    assert read_thumbnail(gallery, 30) is None


def test_a_query_stops_after_the_steps_that_a_sound_file_needs(gallery: Path) -> None:
    with closing(Reader(gallery)) as file, pytest.raises(sqlite3.OperationalError, match="interrupted"):
        file.rows(f"{ENDLESS} max(i) FROM n")


def test_rows_that_hold_more_than_the_file(gallery: Path) -> None:
    with closing(Reader(gallery)) as file, pytest.raises(ValueError, match="more bytes than the file"):
        file.rows("SELECT a.thumbnail, b.thumbnail, c.id FROM images a, images b, images c")


def test_flipped_bytes_are_named_or_harmless(gallery: Path) -> None:
    sound, random = gallery.read_bytes(), np.random.Generator(np.random.PCG64(0))
    refused = 0
    for _ in range(200):
        content = bytearray(sound)
        for position in random.integers(0, len(sound), 8):
            content[position] ^= int(random.integers(1, 256))
        gallery.write_bytes(content)
        try:
            read_gallery(gallery)
        except BadInput:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nothing"])
def test_what_is_no_file_blocks_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "g.sqlite"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nothing")
    with pytest.raises(BadInput, match=r"damaged|no such gallery"):
        read_gallery(path)
