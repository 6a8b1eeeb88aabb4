"""Locality-sensitive hashing: codes by hand, collisions as the formula says, and the file as an app reads it."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput
from compress.indexes.lsh import Lsh, hashed
from tests import _pooled
from tests._command import REPOSITORY
from tests.indexes._galleries import features


def test_codes_worked_by_hand() -> None:
    planes = np.array([[[1, 0], [0, 1], [-1, -1]], [[0, -1], [1, 1], [1, -1]]], np.float32)
    codes = hashed(np.array([[2, 1], [1, -1], [0, 0]], np.float32), planes)
    # (2, 1): above, above, below = 110; below, above, above = 011. On a plane counts as above it.
    assert codes.tolist() == [[0b110, 0b101, 0b111], [0b011, 0b111, 0b111]]


@pytest.mark.parametrize("degrees", [5, 30, 60, 90, 150])
def test_two_vectors_share_a_bit_as_often_as_their_angle_says(degrees: int) -> None:
    """1 - theta / pi within five standard deviations, and not the cosine's (1 + cos theta) / 2."""
    random, theta, dim = np.random.default_rng(degrees), math.radians(degrees), 24
    planes = random.standard_normal((1250, 32, dim)).astype(np.float32)
    first, other = np.linalg.qr(random.standard_normal((dim, 2)))[0].T
    pair = np.stack([3 * first, 0.1 * (math.cos(theta) * first + math.sin(theta) * other)]).astype(np.float32)
    one, two = hashed(pair, planes).T
    bits = planes.shape[0] * planes.shape[1]
    shared = 1 - sum(int(code).bit_count() for code in one ^ two) / bits
    expected = 1 - theta / math.pi
    deviation = math.sqrt(expected * (1 - expected) / bits)
    assert abs(shared - expected) < 5 * deviation
    wrong = (1 + math.cos(theta)) / 2
    if degrees != 90:
        assert abs(shared - wrong) > 5 * deviation


def test_a_bucket_is_shared_as_often_as_tables_and_bits_say(tmp_path: Path) -> None:
    """1 - (1 - p^b)^L over many pairs of one angle; every pair has the tables' planes, so the bound is over seeds."""
    theta, tables, bits, dim = math.radians(35), 6, 5, 16
    expected = 1 - (1 - (1 - theta / math.pi) ** bits) ** tables
    random = np.random.default_rng(0)
    found = []
    for seed in range(400):
        planes = np.random.default_rng(seed).standard_normal((tables, bits, dim)).astype(np.float32)
        first, other = np.linalg.qr(random.standard_normal((dim, 2)))[0].T
        pair = np.stack([first, math.cos(theta) * first + math.sin(theta) * other]).astype(np.float32)
        found.append(bool((np.diff(hashed(pair, planes), axis=1) == 0).any()))
    assert abs(np.mean(found) - expected) < 5 * math.sqrt(expected * (1 - expected) / len(found))


def test_more_tables_find_more_and_more_bits_look_at_fewer(tmp_path: Path) -> None:
    rows = features("l2", 800, 16)
    path = tmp_path / "index.sqlite"

    def looked_at(tables: int, bits: int) -> float:
        Lsh(tables=tables, bits=bits).build(path, rows, "l2", seed=1)
        ids = Lsh().open(path, rows, "l2").search(rows[:50], len(rows))[1]
        return float((ids >= 0).mean())

    assert looked_at(2, 10) < looked_at(8, 10) < looked_at(8, 4) < 1
    assert looked_at(1, 10) >= 1 / len(rows)  # the image itself, always


def test_the_sample_for_apps_finds_the_same_with_sqlite_alone(tmp_path: Path, digit_images: np.ndarray) -> None:
    gallery = _pooled.write(tmp_path / "gallery/gallery.sqlite", _pooled.images(digit_images, 20))
    index = Lsh(tables=4, bits=6)
    index.build(tmp_path / "gallery/index.sqlite", gallery.features, "l2", seed=5)
    queries = gallery.features[::23]
    distances, ids = index.open(tmp_path / "gallery/index.sqlite", gallery.features, "l2").search(queries, 10)
    queries.tofile(tmp_path / "queries.f32")
    command = [sys.executable, REPOSITORY / "examples/python/search_lsh.py", tmp_path, tmp_path / "queries.f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = [
        [
            [gallery.names[row], pytest.approx(float(value), abs=1e-5)]
            for value, row in zip(*pair, strict=True)
            if row >= 0
        ]
        for pair in zip(distances, ids, strict=True)
    ]
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    assert min(len(found) for found in expected) > 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE meta SET value = '2' WHERE key = 'schema'", "schema 2 instead of lsh of schema 1"),
        ("DELETE FROM meta WHERE key = 'bits'", "damaged"),
        ("DELETE FROM planes WHERE tab = 1 AND bit = 0", "damaged"),
        ("UPDATE planes SET plane = zeroblob(48) || plane WHERE tab = 1 AND bit = 0", "damaged"),
        (f"UPDATE planes SET plane = x'{'0000c07f' * 12}' WHERE tab = 1 AND bit = 0", "NaN"),
        ("UPDATE buckets SET ids = x'ffffff7f' WHERE tab = 2 AND length(ids) = 4", "does not hold each of 200"),
        (
            "UPDATE buckets SET ids = CAST(ids || x'00000000' AS BLOB) WHERE tab = 0",
            "table 0 does not hold each of 200",
        ),
        ("UPDATE buckets SET ids = 'text' WHERE tab = 0", "damaged"),
        ("DROP TABLE buckets", "no such table"),
    ],
)
def test_damage_inside_is_named(tmp_path: Path, statement: str, words: str) -> None:
    rows, path = features("l2"), tmp_path / "index.sqlite"
    Lsh(tables=4, bits=7).build(path, rows, "l2", seed=0)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(statement).rowcount != 0
        database.commit()
    with pytest.raises(BadInput) as caught:
        Lsh().open(path, rows, "l2")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: the index is damaged")
    assert "\n" not in str(caught.value)
