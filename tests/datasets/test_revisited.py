"""ROxford and RParis on a small tree of the published shape."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from compress.contracts import BadInput, Dataset, PublishedImage
from compress.data.images import UndecodableImageError, read_image
from compress.data.load import load_data
from compress.datasets.roxford5k import Roxford5k
from compress.datasets.rparis6k import Rparis6k


class Hostile:
    """What a pickle can do to whoever loads it: create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture(params=[(Roxford5k, "roxford5k", ""), (Rparis6k, "rparis6k", "paris_")], ids=["roxford5k", "rparis6k"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, photo: Callable[..., Image.Image]) -> tuple[Dataset, Path]:
    """Two queries, six images; what is relevant to the first: 0 and 1 easily, 2 with difficulty, 3 is junk."""
    kind, name, prefix = request.param
    folder = tmp_path / name
    (folder / "jpg").mkdir(parents=True)
    names = [f"{prefix}{landmark}_{number:06d}" for landmark in ("all_souls", "eiffel") for number in range(4)]
    for number, each in enumerate(names):
        photo(number // 4, number).save(folder / "jpg" / f"{each}.jpg", quality=95)
    listed = [
        {
            "bbx": np.array([10.4, 5.6, 50.2, 40.0]),
            "easy": np.array([0, 1]),
            "hard": np.array([2]),
            "junk": np.array([3]),
        },
        {"bbx": [0, 0, 64, 48], "easy": [], "hard": np.array([5, 4], dtype=np.uint16), "junk": np.array([])},
    ]
    content = {"imlist": names[1:4] + names[5:8], "qimlist": [names[0], names[4]], "gnd": listed}
    (folder / f"gnd_{name}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return kind(root=str(tmp_path), image_size=32), folder / f"gnd_{name}.pkl"


def lists(part: tuple[np.ndarray, ...]) -> list[list[int]]:
    return [rows.tolist() for rows in part]


def test_settings_boxes_and_names_are_the_published_ones(tree: tuple[Dataset, Path]) -> None:
    dataset, table = tree
    splits = dataset.splits(seed=0)
    assert splits.gallery is not None
    assert (len(splits.train), len(splits.test), len(splits.gallery)) == (0, 2, 6)
    assert splits.classes == ("all_souls", "eiffel")
    assert splits.test.labels.tolist() == [0, 1]
    assert splits.gallery.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert list(splits.ground_truths) == ["medium", "easy", "hard"]
    assert all(truth.form == "trapezoid" for truth in splits.ground_truths.values())
    found = {name: (lists(truth.relevant), lists(truth.junk)) for name, truth in splits.ground_truths.items()}
    assert found == {
        "medium": ([[0, 1, 2], [4, 5]], [[3], []]),
        "easy": ([[0, 1], []], [[2, 3], [4, 5]]),
        "hard": ([[2], [4, 5]], [[0, 1, 3], []]),
    }
    query = splits.test.images[0]
    assert isinstance(query, PublishedImage)
    assert query.box == (10.4, 5.6, 50.2, 40.0)
    data = load_data(dataset, seed=0, cache_dir=table.parent / "cache")
    assert data.open_set
    assert len(data.train) == 0
    whole = Image.open(table.parent / "jpg" / Path(data.queries.ids[0]).name)
    cut = table.parent / "cut.png"
    whole.crop((10, 6, 50, 40)).save(cut)
    expected = read_image(cut, data.preprocess)
    assert (data.queries.images[0] == expected).all()
    assert np.abs(data.queries.images[0].astype(int) - read_image(Path(whole.filename), data.preprocess)).mean() > 5


def test_other_landmarks_train(
    tree: tuple[Dataset, Path], save_photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    dataset, _ = tree
    for label, name in enumerate(["notre_dame", "big_ben", "louvre", "duomo"]):
        save_photos(tmp_path / "others" / name, label, 4, first=10)
    trained = type(dataset)(root=dataset.root, image_size=32, validation_share=0.25, train=str(tmp_path / "others"))  # type: ignore[call-arg]
    data = load_data(trained, seed=0, cache_dir=tmp_path / "cache")
    assert data.classes == ("all_souls", "big_ben", "duomo", "eiffel", "louvre", "notre_dame")
    assert (len(data.train), len(data.validation)) == (12, 4)
    assert data.open_set
    assert {name.split("/")[0] for name in data.train.ids} == {"train"}


def test_skipped_images_leave_the_lists_and_the_fingerprint_knows_them(tree: tuple[Dataset, Path]) -> None:
    dataset, table = tree
    before = load_data(dataset, seed=0, cache_dir=table.parent / "cache")
    content = pickle.loads(table.read_bytes())
    content["gnd"][0]["easy"] = np.array([1])
    table.write_bytes(pickle.dumps(content, protocol=2))
    assert load_data(dataset, seed=0, cache_dir=table.parent / "cache").fingerprint != before.fingerprint
    name = content["imlist"][1]
    (table.parent / "jpg" / f"{name}.jpg").write_bytes(b"no picture")
    after = load_data(type(dataset)(root=dataset.root, image_size=32, max_skipped_share=0.2), seed=0)
    assert len(after.gallery) == 5
    assert [lists(after.ground_truths[name].relevant) for name in ("medium", "easy", "hard")] == [
        [[1], [3, 4]],
        [[], []],
        [[1], [3, 4]],
    ]
    assert lists(after.ground_truths["medium"].junk) == [[2], []]


def test_a_pickle_that_would_run_something_does_not(tree: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, table = tree
    mark = tmp_path / "it ran"
    content = pickle.dumps({"imlist": Hostile(mark), "qimlist": [], "gnd": []}, protocol=2)
    table.write_bytes(content)
    with pytest.raises(BadInput, match=r"it asks for .*getattr"):
        dataset.splits(seed=0)
    assert not mark.exists()
    pickle.loads(content)  # the control: anything else that loads it runs it
    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gnd": [{"bbx": [0, 0, 1, 1], "easy": [99], "hard": [], "junk": []}] * 2}, "none of the 6 images"),
        ({"gnd": [{"bbx": [0, 0, 1], "easy": [0], "hard": [], "junk": []}] * 2}, "not the ground truth"),
        ({"gnd": [{"easy": [0], "hard": [], "junk": []}] * 2}, "bbx"),
        ({"gnd": []}, "2 queries, 0 entries"),
        ({"imlist": ["../secret_000001"]}, "not named LANDMARK_NNNNNN|none of the 1 images"),
        ({"qimlist": 5}, "not the ground truth"),
    ],
)
def test_what_is_not_the_published_file_is_named(tree: tuple[Dataset, Path], change: dict[str, Any], text: str) -> None:
    dataset, table = tree
    table.write_bytes(pickle.dumps({**pickle.loads(table.read_bytes()), **change}))
    with pytest.raises(BadInput, match=text) as caught:
        dataset.splits(seed=0)
    assert str(table) in str(caught.value)
    table.write_bytes(b"no pickle")
    with pytest.raises(BadInput, match="not a ground truth with 'imlist'"):
        dataset.splits(seed=0)


def test_images_are_decoded_as_the_benchmark_does(tree: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """EXIF orientation is ignored and a truncated file gives what it holds; elsewhere neither is so."""
    dataset, table = tree
    turned, cut = sorted((table.parent / "jpg").glob("*all_souls_*.jpg"))[1:3]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(turned).save(turned, exif=exif, quality=95)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    data = load_data(dataset, seed=0, cache_dir=table.parent / "cache")
    assert data.skipped == {}
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    size = data.preprocess.size
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        for path in (turned, cut):
            row = data.gallery.ids.index(f"jpg/{path.name}")
            loaded = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)  # as cirtorch's pil_loader
            assert (data.gallery.images[row] == np.asarray(loaded)).all()
    with pytest.raises(UndecodableImageError, match="truncated"):
        read_image(cut, data.preprocess)
    upright = data.gallery.images[data.gallery.ids.index(f"jpg/{turned.name}")]
    assert np.abs(upright.astype(int) - read_image(turned, data.preprocess)).mean() > 5


def test_a_folder_of_landmarks_that_is_not_there_is_named(tree: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, _ = tree
    missing = type(dataset)(root=dataset.root, train=str(tmp_path / "landmarks"))  # type: ignore[call-arg]
    with pytest.raises(BadInput, match=r"data\.train: there is no folder .*landmarks; name one that holds other landm"):
        missing.splits(seed=0)
