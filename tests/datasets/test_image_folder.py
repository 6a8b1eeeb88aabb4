from __future__ import annotations

import io
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput, Splits
from compress.data import formats
from compress.data.dataset_warnings import remarks
from compress.data.load import describe, load_data
from compress.datasets.image_folder import ImageFolder


def splits(root: Path, seed: int = 0, **options: object) -> Splits:
    return ImageFolder(root=str(root), **options).splits(seed)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    save_photos(tmp_path / "Kühe", 0, 10)
    save_photos(tmp_path / "cats" / "indoor", 1, 5, name="{}.PNG")
    save_photos(tmp_path / "cats" / "outdoor", 1, 5, first=5, name="{}.webp")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cats" / ".DS_Store").write_bytes(b"x")
    return tmp_path


def test_divides_each_class_by_the_seed(folder: Path) -> None:
    found = splits(folder)
    assert found.classes == ("Kühe", "cats")
    assert np.bincount(found.train.labels).tolist() == [8, 8]
    assert np.bincount(found.test.labels).tolist() == [2, 2]
    assert len({*found.train.ids, *found.test.ids}) == 20
    for samples in (found.train, found.test):
        assert all(name.startswith(found.classes[c]) for name, c in zip(samples.ids, samples.labels, strict=True))
    assert splits(folder).test.ids == found.test.ids
    assert splits(folder, seed=1).test.ids != found.test.ids
    assert len(splits(folder, test_share=0.5).test) == 10


def test_copies_are_dropped_unless_wanted(folder: Path) -> None:
    shutil.copy(folder / "cats/indoor/0.PNG", folder / "Kühe/copy.png")
    found = splits(folder)
    assert (found.duplicates, len(found.train) + len(found.test)) == (1, 20)
    kept = splits(folder, drop_duplicates=False)
    assert (kept.duplicates, len(kept.train) + len(kept.test)) == (0, 21)


def test_takes_the_folders_train_and_test_as_they_are(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "train" / name, label, 4)
        save_photos(tmp_path / "val" / name, label, 2, first=4)
    found = splits(tmp_path)
    assert (len(found.train), len(found.test)) == (8, 4)  # without test, validation is the test set
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "test" / name, label, 3, first=6)
    found = splits(tmp_path)
    assert (len(found.train), len(found.test)) == (12, 6)
    assert {name.partition("/")[0] for name in found.train.ids} == {"train", "val"}
    assert splits(tmp_path, seed=5).test.ids == found.test.ids

    shutil.copy(tmp_path / "train/cats/000000.jpg", tmp_path / "test/cats/leak.jpg")
    found = splits(tmp_path)
    assert (found.duplicates, len(found.train), len(found.test)) == (1, 12, 6)

    save_photos(tmp_path / "test" / "Cats", 0, 1)
    with pytest.raises(BadInput, match=r"test/Cats has no counterpart among the training classes \(cats, dogs\)"):
        splits(tmp_path)


def test_an_open_set_has_other_classes_for_testing(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    """As CUB and Stanford Online Products: whole classes choose the best weights, and queries search one another."""
    for label in range(6):
        save_photos(tmp_path / ("train" if label < 4 else "test") / f"bird {label}", label, 4)
    found = splits(tmp_path)
    assert found.classes == tuple(f"bird {label}" for label in range(6))
    assert set(found.train.labels.tolist()) == {0, 1, 2, 3} and set(found.test.labels.tolist()) == {4, 5}
    data = load_data(ImageFolder(root=str(tmp_path), image_size=16, validation_share=0.3), seed=0)
    assert data.open_set and data.leave_one_out
    assert not set(data.train.labels.tolist()) & set(data.validation.labels.tolist())
    # One class too many is a mistake in a name, and so is another spelling.
    save_photos(tmp_path / "test" / "bird 0", 0, 2)
    with pytest.raises(BadInput, match="has no counterpart"):
        splits(tmp_path)
    shutil.rmtree(tmp_path / "test")
    save_photos(tmp_path / "test" / "Bird 0", 0, 2)
    with pytest.raises(BadInput, match="test/Bird 0 has no counterpart"):
        splits(tmp_path)


def test_heic_photographs_are_taken_where_their_reader_is_installed(
    tmp_path: Path, photo: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for number in range(4):
            photo(label, number).save(tmp_path / str(label) / f"{number}.HEIC", "HEIF", quality=95)
    found = splits(tmp_path)
    assert len(found.train) + len(found.test) == 8 and not found.skipped
    data = load_data(ImageFolder(root=str(tmp_path), image_size=32, test_share=0.5, validation_share=0), seed=0)
    original = np.asarray(photo(1, int(data.queries.ids[-1][2])).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(data.queries.images[len(data.queries) - 1].astype(int) - original).mean() < 8
    monkeypatch.setattr(formats, "heif_version", lambda: None)
    formats._formats.cache_clear()
    with pytest.raises(BadInput, match=r'install "compress-retrieval\[heif\]"'):
        splits(tmp_path)
    formats._formats.cache_clear()


def fails(root: Path, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        splits(root)
    message = str(caught.value)
    assert message.startswith("data.root: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_bad_folders_are_named(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    fails(tmp_path / "nowhere", "was not found", str(tmp_path / "nowhere"), "CLASS/*.jpg")
    fails(tmp_path, "no class folders", str(tmp_path))
    save_photos(tmp_path, 0, 2)
    fails(tmp_path, "no class folders", "CLASS/")
    save_photos(tmp_path / "cats", 0, 5)
    fails(tmp_path, "only one class folder, cats")
    (tmp_path / "dogs").mkdir()
    fails(tmp_path, "only one class folder, cats")
    for number in range(3):
        (tmp_path / "dogs" / f"{number}.heic").write_bytes(b"x")
    fails(tmp_path, str(tmp_path / "dogs"), "holds no image", "but 3 .heic", "not an image")


def test_too_few_images_to_test_with(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    save_photos(tmp_path / "cats", 0, 2)
    save_photos(tmp_path / "dogs", 1, 2)
    with pytest.raises(BadInput, match=r"data\.test_share=0\.2: 4 images in 2 classes leave none for testing"):
        splits(tmp_path)
    assert len(splits(tmp_path, test_share=0.5).test) == 2


def ftyp(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(12)


def test_takes_what_pillow_decodes_and_names_the_rest(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    """A folder as a phone, a camera, a NAS and photo programs leave it."""
    cats, dogs = tmp_path / "cats", tmp_path / "dogs"
    for folder in (
        cats,
        dogs,
        tmp_path / "empty",
        cats / "@eaDir",
        tmp_path / "__MACOSX" / "cats",
        cats / ".thumbnails",
    ):
        folder.mkdir(parents=True)
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"x")
    taken = {"1.jpg": "JPEG", "2.JFIF": "JPEG", "3": "JPEG", "4.avif": "AVIF", "5.mpo": "MPO", "6.jp2": "JPEG2000"}
    taken |= {"7.heic": "JPEG", "8.ppm": "PPM", "9.tga": "TGA"}
    for number, (name, kind) in enumerate(taken.items()):
        photo(0, number).save(cats / name, kind)
        photo(1, number).save(dogs / f"{number}.png")
        photo(0, number).save(cats / "@eaDir" / f"{number}.jpg")
        photo(0, number).save(cats / ".thumbnails" / f"{number}.jpg")
        photo(0, number).save(tmp_path / "__MACOSX" / "cats" / f"._{number}.jpg")
    preview = io.BytesIO()
    photo(0, 30).save(preview, "TIFF", tiffinfo={254: 1})
    left_out = {
        "IMG_1.HEIC": (ftyp(b"heic"), "HEIC"),
        "IMG_1.MOV": (ftyp(b"qt  "), "a video"),
        "IMG_1.CR3": (ftyp(b"crx "), "RAW"),
        "IMG_1.NEF": (preview.getvalue(), "RAW"),
        "IMG_1.RAF": (b"FUJIFILMCCD-RAW", "RAW"),
        "IMG_1.AAE": (b"<?xml", "not an image"),
        "IMG_1.xmp": (b"<x:xmpmeta", "not an image"),
        "MVI_1.THM": ((cats / "1.jpg").read_bytes(), "thumbnail of a video"),
        "Thumbs.db": (b"\xd0\xcf\x11\xe0", "not an image"),
        "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image"),  # Pillow would run Ghostscript
        "nothing": (b"", "not an image"),
        "._1.jpg": (b"x", "macOS"),
        ".picasa.ini": (b"x", "hidden"),
    }
    for name, (content, _) in left_out.items():
        (cats / name).write_bytes(content)
    os.mkfifo(cats / "pipe.jpg")
    (cats / "again").symlink_to(tmp_path)
    photo(0, 31).save(tmp_path / "loose.jpg")
    found = splits(tmp_path)
    assert {*found.train.ids, *found.test.ids} == {f"cats/{name}" for name in taken} | {
        f"dogs/{i}.png" for i in range(9)
    }
    for name, (_, reason) in left_out.items():
        assert reason in found.skipped[f"cats/{name}"]
    others = {name: reason for name, reason in found.skipped.items() if name.removeprefix("cats/") not in left_out}
    assert others == {
        "__MACOSX/": "left by macOS's archives",
        "cats/.thumbnails/": "hidden",
        "cats/@eaDir/": "thumbnails of a Synology NAS",
        "cats/again/": "a link to a folder around it",
        "cats/pipe.jpg": "not a regular file",
        "empty/": "an empty class folder",
        "empty/.DS_Store": "hidden",
        "loose.jpg": "is not inside a class folder",
    }
    data = load_data(ImageFolder(root=str(tmp_path), image_size=16), 0, cache_dir=tmp_path / ".cache")
    assert len(data.train) + len(data.validation) + len(data.queries) == 18  # all decoded
    assert describe(data)["skipped"] == data.skipped == found.skipped
    said = remarks(data)
    assert "data: 1 file or folder left out, an empty class folder: empty/" in said
    assert any(line.startswith("data: 5 files or folders left out, not an image: cats/IMG_1.AAE, ") for line in said)
    assert len(remarks(found)) == len(said)


def test_folders_beside_the_splits_are_named(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "train" / name, label, 4)
    save_photos(tmp_path / "test" / "cats", 0, 2, first=6)
    save_photos(tmp_path / "more" / "cats", 0, 2, first=8)
    (tmp_path / "test" / "dogs").mkdir()
    found = splits(tmp_path)
    assert found.skipped == {"more/": "neither train, validation nor test", "test/dogs/": "an empty class folder"}
    assert "data: 1 class trains and is never tested: dogs" in remarks(found)


def test_a_picture_in_two_classes_is_said(folder: Path) -> None:
    shutil.copy(folder / "cats/indoor/0.PNG", folder / "Kühe/copy.png")
    pair = ("Kühe/copy.png", "cats/indoor/0.PNG")
    for drop, images in ((True, 20), (False, 21)):
        found = splits(folder, drop_duplicates=drop)
        assert found.in_two_classes == (pair,)
        assert len(found.train) + len(found.test) == images
        assert f"data: 1 picture lies in two classes: {' = '.join(pair)}" in remarks(found)
    data = load_data(ImageFolder(root=str(folder), image_size=16, validation_share=0.2), 0, cache_dir=folder / ".cache")
    assert describe(data)["in_two_classes"] == [list(pair)]
    shutil.move(folder / "Kühe/copy.png", folder / "cats/copy.png")  # a copy within one class is a duplicate alone
    assert splits(folder).in_two_classes == ()
