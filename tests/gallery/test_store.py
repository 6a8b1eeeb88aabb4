"""The gallery's index: what stands in it, the same bytes every time, and damage that is named."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.bundle.manifest import read_manifest
from compress.contracts import BadInput, EmbeddingSpec, GalleryOptions, ImageSet
from compress.data.images import read_image
from compress.gallery.store import GALLERY, read_gallery, write_gallery
from compress.model.checkpoint import load_model
from compress.model.identity import model_sha256, space_id
from compress.model.reference import embed
from compress.recipe.reader import load_recipe
from tests import _pooled
from tests.conftest import Finished


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_the_index_of_a_run_holds_what_the_pytorch_model_gives_for_the_files(finished: Finished) -> None:
    gallery = read_gallery(finished.folder / GALLERY)
    model = load_model(finished.folder / "checkpoints/train.safetensors")
    manifest = read_manifest(finished.folder)
    assert gallery.meta["space_id"] == space_id(model) == manifest.embedding.space_id
    assert gallery.meta["model_sha256"] == model_sha256(model)
    assert (gallery.meta["images"], gallery.meta["of"], len(gallery.names)) == (60, 60, 60)
    photos = finished.recipe.parent / "photos"
    pixels = np.stack([read_image(photos / name, model.preprocess) for name in gallery.names])
    np.testing.assert_allclose(gallery.features, embed(model, pixels), rtol=1e-4, atol=1e-5)
    assert all(name.startswith(f"{label}/") for name, label in zip(gallery.names, gallery.labels, strict=True))
    # And it is no constant, which would agree with anything.
    assert np.ptp(gallery.features, axis=0).max() > 0.1


def test_an_app_can_read_it_with_sqlite_alone(tmp_path: Path, digit_images: np.ndarray) -> None:
    pictures = _pooled.images(digit_images, 3)
    _pooled.write(tmp_path / "g.sqlite", pictures)
    with closing(sqlite3.connect(tmp_path / "g.sqlite")) as database:
        meta = {key: json.loads(value) for key, value in database.execute("SELECT * FROM meta")}
        rows = database.execute("SELECT * FROM images ORDER BY id").fetchall()
    assert meta == {
        **_pooled.ABOUT,
        "schema": 1,
        "dim": 49,
        "kind": "float",
        "distance": "l2",
        "dtype": "float32 little-endian",
        "images": 30,
        "of": 30,
    }
    expected = _pooled.embed(pictures)
    for number, (row, name, label, index, width, height, thumbnail, feature) in enumerate(rows):
        assert (row, name, label, index) == (number, pictures.ids[number], f"digit {number // 3}", number // 3)
        picture = Image.open(io.BytesIO(thumbnail))
        assert picture.size == (width, height) == (28, 28)
        assert np.abs(np.asarray(picture, np.int64) - pictures.images[number]).mean() < 8
        assert struct.unpack("<49f", feature) == tuple(expected[number].tolist())
    assert [path.name for path in tmp_path.iterdir()] == ["g.sqlite"]


def test_codes_are_packed_first_bit_most_significant(tmp_path: Path, digit_images: np.ndarray) -> None:
    pictures = _pooled.images(digit_images, 1)
    activations = np.zeros((10, 9), np.float32)
    activations[0] = [0.6, 0.5, 0.9, 0, 0, 0, 0, 0, 0.51]  # 1010 0000, 1000 0000: one half is not above one half
    spec = EmbeddingSpec(dim=9, kind="binary", distance="hamming")
    write_gallery(tmp_path / "g.sqlite", pictures, activations, _pooled.CLASSES, spec, GalleryOptions(), _pooled.ABOUT)
    with closing(sqlite3.connect(tmp_path / "g.sqlite")) as database:
        codes = [code.hex() for (code,) in database.execute("SELECT feature FROM images ORDER BY id")]
    assert codes == ["a080"] + ["0000"] * 9
    assert read_gallery(tmp_path / "g.sqlite").features[0].tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 1]


def test_the_same_rows_give_the_same_bytes_and_another_feature_does_not(
    tmp_path: Path, digit_images: np.ndarray
) -> None:
    pictures = _pooled.images(digit_images, 20)
    for name in ("one", "two"):
        _pooled.write(tmp_path / name, pictures)
    # What an earlier run was killed over does not matter either.
    (tmp_path / ".three.unfinished").mkdir()
    (tmp_path / ".three.unfinished/three").write_bytes(b"half a database")
    _pooled.write(tmp_path / "three", pictures)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two == three
    nearly = _pooled.embed(pictures)
    nearly[100, 0] += 1
    write_gallery(tmp_path / "four", pictures, nearly, _pooled.CLASSES, _pooled.FLOAT, GalleryOptions(), _pooled.ABOUT)
    assert (tmp_path / "four").read_bytes() != one


def test_a_large_gallery_is_represented_evenly_and_thumbnails_are_small(
    tmp_path: Path, digit_images: np.ndarray
) -> None:
    pictures = _pooled.images(digit_images, 20)
    gallery = _pooled.write(tmp_path / "g.sqlite", pictures, options=GalleryOptions(max_images=50, thumbnail=14))
    assert (gallery.meta["images"], gallery.meta["of"]) == (50, 200)
    assert gallery.names == pictures.ids[::4]
    np.testing.assert_array_equal(gallery.features, _pooled.embed(pictures)[::4])
    with closing(sqlite3.connect(tmp_path / "g.sqlite")) as database:
        assert database.execute("SELECT DISTINCT width, height FROM images").fetchall() == [(14, 14)]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE meta SET value = '2' WHERE key = 'schema'", "schema 2 is newer than 1"),
        ("DELETE FROM meta WHERE key = 'dim'", "damaged"),
        ("DELETE FROM images WHERE id = 7", "ids are not 0 to 29"),
        ("UPDATE images SET feature = x'00' WHERE id = 7", "image 7 has 1 bytes instead of 196"),
        (f"UPDATE images SET feature = x'{'00' * 192}0000c07f' WHERE id = 7", "NaN"),
        ("UPDATE images SET feature = 7 WHERE id = 7", "damaged"),
        ("DROP TABLE images", "no such table"),
    ],
)
def test_damage_is_one_line_that_names_the_file(
    tmp_path: Path, digit_images: np.ndarray, statement: str, words: str
) -> None:
    path = tmp_path / "g.sqlite"
    _pooled.write(path, _pooled.images(digit_images, 3))
    change(path, statement)
    with pytest.raises(BadInput) as caught:
        read_gallery(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"no database, and longer than the header of one" * 20])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.sqlite").write_bytes(content)
    with pytest.raises(BadInput, match=r"g\.sqlite: the gallery is damaged"):
        read_gallery(tmp_path / "g.sqlite")
    with pytest.raises(BadInput, match="there is no such gallery"):
        read_gallery(tmp_path / "nowhere.sqlite")


def test_names_of_any_script_come_back(tmp_path: Path, digit_images: np.ndarray) -> None:
    plain = _pooled.images(digit_images, 1)
    names = ("Ängström/ß.jpg", "東京/1.png", "it's", 'a "b"', "a%20b?mode=rw#c", *plain.ids[5:])
    folder = tmp_path / "a ?#% folder"
    gallery = _pooled.write(folder / "g.sqlite", ImageSet(plain.images, plain.labels, names))
    assert gallery.names == names


def test_a_recipe_sets_thumbnails_and_size_and_is_checked(finished: Finished) -> None:
    recipe = load_recipe(finished.recipe, ["gallery.max_images=30"])
    assert recipe.resolved["gallery"] == {"thumbnail": 64, "max_images": 30, "scales": [1.0], "index": None}
    with pytest.raises(BadInput, match=r"gallery\.max_image: unknown key; did you mean 'max_images'"):
        load_recipe(finished.recipe, ["gallery.max_image=30"])
    with pytest.raises(BadInput, match=r"gallery\.thumbnail: 4 is wrong"):
        load_recipe(finished.recipe, ["gallery.thumbnail=4"])
