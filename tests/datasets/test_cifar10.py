from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput
from compress.data.load import describe, load_data
from compress.datasets.cifar10 import Cifar10

CLASSES = ["airplane", "automobile", "bird"]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1/0",))


def write_batches(folder: Path, photo: Callable[..., Image.Image]) -> dict[str, np.ndarray]:
    """Six batches of three pictures; the images [3, 32, 32, 3] by batch."""
    folder.mkdir()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}, protocol=2))
    written = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        images = np.stack([np.asarray(photo(label, number).resize((32, 32))) for label in range(3)])
        rows = images.transpose(0, 3, 1, 2).reshape(3, 3072)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [0, 1, 2]}, protocol=2))
        written[name] = images
    return written


def test_reads_the_published_batches(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    written = write_batches(tmp_path / "cifar-10-batches-py", photo)
    for root in (tmp_path, tmp_path / "cifar-10-batches-py"):
        splits = Cifar10(root=str(root)).splits(seed=0)
        assert splits.classes == tuple(CLASSES)
        assert splits.train.labels.tolist() == [0, 1, 2] * 5
        assert (np.asarray(splits.train.images)[3:6] == written["data_batch_2"]).all()
        assert (np.asarray(splits.test.images) == written["test_batch"]).all()


def test_reads_image_files(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(CLASSES):
        save_photos(tmp_path / "train" / name, label, 4)
        save_photos(tmp_path / "test" / name, label, 2, first=4)
    splits = Cifar10(root=str(tmp_path)).splits(seed=0)
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.test.ids[-1] == "test/bird/000005.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage", "not a CIFAR-10 batch"),
        (pickle.dumps({"data": np.zeros((3, 3072), np.uint8)}), "not a CIFAR-10 batch with 'labels'"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1, 2]}), r"not uint8 \[3, 3072\]"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [3]}), "expected 0 to 2"),
        (pickle.dumps({"data": Hostile(), "labels": [0]}), "it asks for builtins.eval"),
    ],
)
def test_damaged_batches_are_named(
    tmp_path: Path, photo: Callable[..., Image.Image], content: bytes, message: str
) -> None:
    write_batches(tmp_path / "cifar-10-batches-py", photo)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        Cifar10(root=str(tmp_path)).splits(seed=0)
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(BadInput, match="data_batch_3: No such file"):
        Cifar10(root=str(tmp_path)).splits(seed=0)


def nested(depth: int) -> list[object]:
    """Ten lists in each list, all the same ones: small in the file, 10 ** depth numbers when unfolded."""
    found: list[object] = [0] * 10
    for _ in range(depth):
        found = [found] * 10
    return found


class Doubling:
    """Text that a pickle makes twice as long with every step."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return codecs.encode, (Doubling(self.times - 1) if self.times else b"x", "hex")


class Huge:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return np.ndarray, ((10**11,), "u1")


LARGE = {
    "an integer of 5,000 digits": {"labels": [10**5000]},
    "lists in lists": {"labels": nested(12)},
    "no numbers": {"labels": ["cat"]},
    "a fraction": {"labels": [0.5]},
    "not a number": {"labels": [float("nan")]},
    "below 0": {"labels": [-1]},
    "no list": {"labels": {}},
    "an array that is called": {"labels": [0], "data": Huge()},
    "text without end": {"labels": [0], "data": Doubling(60)},
}


@pytest.mark.parametrize("change", LARGE.values(), ids=LARGE)
def test_what_is_large_or_strange_inside_is_one_line(
    tmp_path: Path, photo: Callable[..., Image.Image], change: dict[str, object]
) -> None:
    write_batches(tmp_path / "cifar-10-batches-py", photo)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), **change}, protocol=2))
    with pytest.raises(BadInput) as caught:
        Cifar10(root=str(tmp_path)).splits(seed=0)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "entry 2147483647 of a table for 9 bytes"),
        (b"\x80\x02" + b"N0" * 1_000_001 + b"N.", "more than 2,000,000 steps"),
        (pickle.dumps({"label_names": nested(12)}), "a list where names are expected"),
    ],
)
def test_a_small_file_does_not_take_much_memory_or_time(
    tmp_path: Path, photo: Callable[..., Image.Image], content: bytes, message: str
) -> None:
    write_batches(tmp_path / "cifar-10-batches-py", photo)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        Cifar10(root=str(tmp_path)).splits(seed=0)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cifar-10-python\.tar\.gz") as caught:
        Cifar10(root=str(tmp_path / "nowhere")).splits(seed=0)
    assert str(tmp_path / "nowhere" / "cifar-10-batches-py") in str(caught.value)


def write_numbered(root: Path, per_class: int) -> None:
    """Batches of ``per_class`` pictures of each of three classes, the first pixels of each holding its number."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}, protocol=2))
    for name, numbers in zip(
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        np.array_split(np.arange(3 * per_class), 6),
        strict=True,
    ):
        rows = np.zeros((len(numbers), 3072), np.uint8)
        rows[:, 0], rows[:, 1] = numbers // 256, numbers % 256
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": (numbers % 3).tolist()}, protocol=2))


@pytest.mark.parametrize(("protocol", "gallery"), [("hashing_54k", 3 * 50), ("hashing_59k", 3 * 550)])
def test_protocols_of_deep_hashing_with_few_training_images(tmp_path: Path, protocol: str, gallery: int) -> None:
    """650 of each class: 100 ask, 500 train, and the rest, or all but the queries, is searched."""
    write_numbered(tmp_path, 650)
    splits = Cifar10(root=str(tmp_path), protocol=protocol).splits(seed=0)  # type: ignore[arg-type]
    assert splits.gallery is not None
    for samples, each in ((splits.test, 100), (splits.train, 500), (splits.gallery, gallery // 3)):
        assert np.bincount(samples.labels).tolist() == [each] * 3
        pixels = np.asarray(samples.images)[:, 0, :2, 0].astype(int)
        assert ((pixels[:, 0] * 256 + pixels[:, 1]) % 3 == samples.labels).all()
    train, test, searched = (set(part.ids) for part in (splits.train, splits.test, splits.gallery))
    assert not test & (train | searched)
    assert train <= searched if protocol == "hashing_59k" else not train & searched
    assert any(name.startswith("test/") for name in train)  # drawn from all 60,000
    again, other = (Cifar10(root=str(tmp_path), protocol=protocol).splits(seed=seed) for seed in (0, 1))  # type: ignore[arg-type]
    assert (again.test.ids, again.train.ids) == (splits.test.ids, splits.train.ids)
    assert other.test.ids != splits.test.ids
    data = load_data(Cifar10(root=str(tmp_path), protocol=protocol), seed=0)  # type: ignore[arg-type]
    assert describe(data)["images"] == 3 * 650
    row = {name: number for number, name in enumerate(data.gallery.ids)}
    for part in (data.queries, data.train, data.validation):
        assert (part.images[:][:, 0, :2, 0].astype(int) @ [256, 1] % 3 == part.labels).all()
        assert bool(set(part.ids) & set(row)) == (part is not data.queries and protocol == "hashing_59k")


def test_the_test_images_search_the_training_images(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    write_batches(tmp_path / "cifar-10-batches-py", photo)
    splits = Cifar10(root=str(tmp_path), protocol="hashing_50k").splits(seed=0)
    assert splits.gallery is splits.train
    assert (len(splits.train), len(splits.test)) == (15, 3)
    with pytest.raises(BadInput, match=r"data\.protocol: 600 images of each class are drawn, class airplane has 6"):
        Cifar10(root=str(tmp_path), protocol="hashing_59k").splits(seed=0)
