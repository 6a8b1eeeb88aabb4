from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput, Data, ImageSet, Preprocess
from compress.data import decode
from compress.data.images import read_image
from compress.data.load import describe, load_data
from compress.datasets.digits import Digits
from compress.datasets.image_folder import ImageFolder
from compress.datasets.sun397 import Sun397

CLASSES = ("abbey", "apartment_building/outdoor", "balcony/exterior", "balcony/interior")
COUNT = 20
TRUNCATED = "a/apartment_building/outdoor/sun_000007.jpg"


@pytest.fixture
def sun(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """SUN397's shape: 20 pictures of each class, a copy, a truncated file."""
    root = tmp_path / "data" / "SUN397"
    for label, name in enumerate(CLASSES):
        save_photos(root / name[0] / name, label, COUNT, name="sun_{:06d}.jpg")
    shutil.copy(root / "a/abbey/sun_000000.jpg", root / "a/abbey/sun_999999.jpg")
    whole = (root / TRUNCATED).read_bytes()
    (root / TRUNCATED).write_bytes(whole[: len(whole) // 2])
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(root: Path, cache_dir: Path, seed: int = 0, **options: object) -> Data:
    dataset = Sun397(root=str(root), **{"image_size": 32, **options})  # type: ignore[arg-type]
    return load_data(dataset, seed, cache_dir=cache_dir, workers=1)


def agrees_with_files(images: ImageSet, root: Path, preprocess: Preprocess) -> bool:
    """Each image is that of its id, each label that of its folder."""
    return all(
        (image == read_image(root / "SUN397" / image_id, preprocess)).all()
        and image_id.partition("/")[2].rpartition("/")[0] == CLASSES[label]
        for image, label, image_id in zip(images.images[:], images.labels, images.ids, strict=True)
    )


@pytest.mark.parametrize("keep", ["disk", "none"])
def test_images_labels_and_ids_belong_together(sun: Path, cache: Path, keep: str) -> None:
    data = load(sun, cache, cache=keep)
    for images in (data.train, data.validation, data.queries):
        assert images.images[:].dtype == np.uint8
        assert images.images[:].shape == (len(images), 32, 32, 3)
        assert images.labels.dtype == np.int64
        assert agrees_with_files(images, sun, data.preprocess)
    # Controls: labels or images that went astray are noticed.
    order = np.random.default_rng(0).permutation(len(data.train))
    shuffled = dataclasses.replace(data.train, labels=data.train.labels[order])
    assert not agrees_with_files(shuffled, sun, data.preprocess)
    shuffled = dataclasses.replace(data.train, images=data.train.images[order])
    assert not agrees_with_files(shuffled, sun, data.preprocess)


def test_splits_are_disjoint_and_complete_and_the_truncated_file_is_listed(sun: Path, cache: Path) -> None:
    data = load(sun, cache)
    splits = [set(images.ids) for images in (data.train, data.validation, data.queries)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 4 * COUNT - 1
    assert list(data.skipped) == [TRUNCATED]
    assert "truncated" in data.skipped[TRUNCATED]
    assert data.leave_one_out
    assert data.gallery is data.queries
    described = describe(data)
    sizes = described.pop("splits")
    assert sizes == {"train": len(data.train), "validation": len(data.validation), "test": len(data.queries)}
    # Hand-worked: 16 of 80 are drawn for testing, and about a tenth of each class of the rest for validation.
    assert sizes["test"] in (15, 16)
    assert 4 <= sizes["validation"] <= 8
    assert described == {
        "dataset": "sun397",
        "images": 4 * COUNT - 1,
        "classes": 4,
        "duplicates": 1,
        "skipped": {TRUNCATED: data.skipped[TRUNCATED]},
        "in_two_classes": [],
        "never_tested": [],
    }


def test_without_validation_images_the_test_images_serve(sun: Path, cache: Path) -> None:
    data = load(sun, cache, validation_share=0)
    assert data.validation is data.queries
    assert describe(data)["images"] == 4 * COUNT - 1
    with pytest.raises(BadInput, match=r"data\.validation_share=0\.01"):
        load(sun, cache, validation_share=0.01)


def test_seed_location_and_cache_decide_what_they_should(sun: Path, cache: Path, tmp_path: Path) -> None:
    first = load(sun, cache)
    moved = tmp_path / "another place" / "photos"
    shutil.copytree(sun / "SUN397", moved)
    elsewhere = load(moved, tmp_path / "cache2")
    assert elsewhere.fingerprint == first.fingerprint
    assert elsewhere.train.ids == first.train.ids
    assert (elsewhere.train.images[:] == first.train.images[:]).all()
    assert load(sun, cache, cache="none").fingerprint == first.fingerprint

    others = [
        load(sun, cache, seed=1),
        load(sun, cache, image_size=40),
        load(sun, cache, crop="center"),
        load(sun, cache, mean=(0.5, 0.5, 0.5)),
        load(sun, cache, validation_share=0.2),
    ]
    assert len({data.fingerprint for data in [first, *others]}) == 6
    assert others[0].queries.ids != first.queries.ids

    photograph = moved / first.train.ids[0]
    Image.open(photograph).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photograph)
    assert load(moved, tmp_path / "cache2").fingerprint != first.fingerprint


def test_decoded_once(sun: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(sun, cache)

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(decode, "_decode_one", fail)
        assert load(sun, cache).fingerprint == first.fingerprint
        assert load(sun, cache).skipped == first.skipped
        load(sun, cache, seed=1)  # another split of the same images
        os.utime(sun / "SUN397" / first.train.ids[0], ns=(1, 1))
        with pytest.raises(AssertionError, match="decoded again"):
            load(sun, cache)
    assert load(sun, cache).fingerprint == first.fingerprint


@pytest.mark.parametrize("damage", ["images.npy", "digests.npy", "skipped.json"])
def test_a_damaged_cache_is_made_again(sun: Path, cache: Path, damage: str) -> None:
    first = load(sun, cache)
    (path,) = cache.glob(f"*/{damage}")
    path.write_bytes(path.read_bytes()[:-1])
    assert load(sun, cache).fingerprint == first.fingerprint
    assert (load(sun, cache).train.images[:] == first.train.images[:]).all()
    path.unlink()
    assert load(sun, cache).fingerprint == first.fingerprint


def test_a_killed_decode_leaves_nothing_that_is_taken_for_finished(sun: Path, cache: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from compress.data import decode\n"
        "from compress.data.load import load_data\n"
        "from compress.datasets.sun397 import Sun397\n"
        "whole, decode._CHUNK, seen = decode._decode_chunk, 4, []\n"
        "def part(*chunk):\n"
        "    seen.append(chunk)\n"
        "    if len(seen) == 15: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(*chunk)\n"
        "decode._decode_chunk = part\n"
        "load_data(Sun397(root=sys.argv[1], image_size=32), 0, cache_dir=Path(sys.argv[2]), workers=1)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(sun), str(cache)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert list(cache.glob("*.unfinished"))
    data = load(sun, cache)
    assert agrees_with_files(data.train, sun, data.preprocess)
    assert not list(cache.glob("*.unfinished"))


def test_threads_give_what_one_gives(sun: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_CHUNK", 7)
    alone = load(sun, cache)
    dataset = Sun397(root=str(sun), image_size=32)
    together = load_data(dataset, 0, cache_dir=tmp_path / "cache2", workers=4)
    assert together.fingerprint == alone.fingerprint
    assert together.skipped == alone.skipped
    assert agrees_with_files(together.train, sun, together.preprocess)


def test_too_many_undecodable_images_stop_the_run(sun: Path, cache: Path) -> None:
    with pytest.raises(BadInput, match=r"1 of 80 images .* data\.max_skipped_share=0\.0 allows") as caught:
        load(sun, cache, max_skipped_share=0.0)
    assert f"{TRUNCATED}: image file is truncated" in str(caught.value)
    for number in range(4):
        (sun / "SUN397" / "a" / "abbey" / f"sun_{number:06d}.jpg").write_text(f"no picture {number}")
    with pytest.raises(BadInput, match="5 of 81 images") as caught:  # the copy has lost its original
        load(sun, cache)
    assert str(caught.value).count("not an image") == 3
    assert "\n" not in str(caught.value)
    assert len(load(sun, cache, max_skipped_share=0.1).skipped) == 5


def test_broken_links_are_skipped(sun: Path, cache: Path) -> None:
    (sun / "SUN397/b/balcony/exterior/sun_000000.jpg").unlink()
    (sun / "SUN397/b/balcony/exterior/sun_000000.jpg").symlink_to("gone")
    data = load(sun, cache, max_skipped_share=0.1)
    assert data.skipped["b/balcony/exterior/sun_000000.jpg"] == "No such file or directory"


def test_the_cache_folder_is_named_when_it_cannot_be_written(sun: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"COMPRESS_CACHE, or set data\.cache=none") as caught:
        load(sun, tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)


def test_the_cache_folder_comes_from_the_environment(
    sun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "named"))
    load_data(Sun397(root=str(sun), image_size=32), 0, workers=1)
    assert list((tmp_path / "named").glob("*/images.npy"))


def test_a_file_that_changes_during_a_run_is_named(sun: Path, cache: Path) -> None:
    data = load(sun, cache, cache="none")
    path = sun / "SUN397" / data.train.ids[3]
    path.write_text("overwritten")
    with pytest.raises(BadInput, match="the file has changed since the run started") as caught:
        data.train.images[np.array([0, 3])]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", ["disk", "none"])
def test_images_are_indexed_like_an_array(sun: Path, cache: Path, keep: str) -> None:
    images = load(sun, cache, cache=keep).train.images
    whole = images[:]
    assert len(images) == len(whole)
    assert (images[np.array([5, 0, 5])] == whole[[5, 0, 5]]).all()
    assert (images[2:9:3] == whole[2:9:3]).all()
    assert (images[-1] == whole[-1]).all()
    assert images[np.array([], dtype=np.int64)].shape == (0, 32, 32, 3)


def test_arrays_of_the_right_size_are_used_as_they_are(cache: Path) -> None:
    data = load_data(Digits(), 0, cache_dir=cache)
    splits = Digits().splits(0)
    assert [len(images) for images in (data.train, data.validation, data.queries)] == [3600, 400, 1000]
    assert (data.queries.images[:] == np.asarray(splits.test.images)[..., None]).all()
    assert (data.queries.labels == splits.test.labels).all()
    assert not cache.exists()


def test_arrays_of_another_size_are_resized(cache: Path) -> None:
    disk = load_data(Digits(image_size=16, test_share=0.9), 0, cache_dir=cache, workers=1)
    demand = load_data(Digits(image_size=16, test_share=0.9, cache="none"), 0, cache_dir=cache, workers=1)
    first = np.asarray(Digits(test_share=0.9).splits(0).test.images)[0]
    expected = Image.fromarray(first).resize((16, 16), Image.Resampling.BILINEAR)
    for data in (disk, demand):
        assert (data.queries.images[0] == np.asarray(expected)[..., None]).all()
    assert disk.fingerprint == demand.fingerprint


def test_two_names_that_unicode_makes_one_are_refused(
    tmp_path: Path, save_photos: Callable[..., list[Path]], cache: Path
) -> None:
    save_photos(tmp_path / "x" / "a", 0, 5)
    save_photos(tmp_path / "x" / "b", 1, 5)
    save_photos(tmp_path / "x" / "b", 1, 1, first=5, name="e\u0301.jpg")
    save_photos(tmp_path / "x" / "b", 1, 1, first=6, name="\u00e9.jpg")
    if len(list((tmp_path / "x" / "b").iterdir())) == 7:  # a file system that keeps both
        with pytest.raises(BadInput, match="two files are called b/\u00e9"):
            load_data(ImageFolder(root=str(tmp_path / "x")), 0, cache_dir=cache, workers=1)
