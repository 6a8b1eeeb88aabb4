"""A table of images, CSV or Parquet: labels, splits, boxes, several labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from compress.contracts import BadInput, PublishedImage
from compress.data.load import load_data
from compress.datasets.image_table import ImageTable
from validators.metrics import retrieve_listed


@pytest.fixture
def root(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / name, label, 6, name="{}.jpg")
    return tmp_path


def write(root: Path, *lines: str) -> ImageTable:
    (root / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ImageTable(root=str(root), image_size=16)


def test_splits_and_labels_are_those_of_the_table(root: Path) -> None:
    table = write(
        root,
        "split,path,label,camera",
        "train,cats/0.jpg,tiger,x",
        "validation,dogs/0.jpg,,y",
        "Test,cats/1.jpg,tiger,",
        "test,dogs/1.jpg,dogs,",
        'gallery,"dogs/2.jpg",dogs,',
        "gallery,cats/2.jpg, tiger ,",
    )
    splits = table.splits(0)
    assert splits.classes == ("dogs", "tiger")
    assert splits.gallery is not None
    assert (splits.train.ids, splits.train.labels.tolist()) == (("cats/0.jpg", "dogs/0.jpg"), [1, 0])
    assert (splits.test.ids, splits.test.labels.tolist()) == (("cats/1.jpg", "dogs/1.jpg"), [1, 0])
    assert (splits.gallery.ids, splits.gallery.labels.tolist()) == (("dogs/2.jpg", "cats/2.jpg"), [0, 1])
    assert splits.ground_truths == {}


def test_without_the_column_it_is_divided_within_each_class(root: Path) -> None:
    lines = [f"{name}/{number}.jpg" for name in ("cats", "dogs") for number in range(6)]
    table = write(root, "path", *lines)
    splits = table.splits(0)
    assert sorted([*splits.train.ids, *splits.test.ids]) == lines
    assert splits.test.labels.tolist() == [0, 1]
    assert table.splits(1).test.ids != splits.test.ids or table.splits(2).test.ids != splits.test.ids


def test_parquet_gives_the_same(root: Path) -> None:
    columns: dict[str, list[Any]] = {
        "path": ["cats/0.jpg", "dogs/0.jpg", "cats/1.jpg", "dogs/1.jpg"],
        "label": [["a", "b"], ["b"], ["a"], ["c", "b"]],
        "split": ["train", "train", "test", "test"],
        "box": [None, [0, 1, 20, 30], None, None],
    }
    parquet.write_table(pyarrow.table(columns), root / "images.parquet")
    from_parquet = ImageTable(root=str(root), table="images.parquet").splits(0)
    from_csv = write(
        root,
        "path,label,split,box",
        "cats/0.jpg,a|b,train,",
        'dogs/0.jpg,b,train,"0, 1, 20, 30"',
        "cats/1.jpg,a,test,",
        "dogs/1.jpg,c | b,test,",
    ).splits(0)
    for part in ("train", "test"):
        one, other = getattr(from_parquet, part), getattr(from_csv, part)
        assert (one.ids, list(one.images), one.labels.tolist()) == (
            other.ids,
            list(other.images),
            other.labels.tolist(),
        )
    assert from_parquet.train.images[1] == PublishedImage(root / "dogs/0.jpg", (0, 1, 20, 30))


def test_a_box_is_a_part_of_the_picture_and_two_boxes_are_two_images(root: Path) -> None:
    Image.fromarray(np.repeat(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 20, 1).repeat(40, 0)).save(
        root / "two.png"
    )
    table = write(
        root,
        "path,label,split,box",
        "two.png,red,test,0 0 20 40",
        "two.png,blue,test,20 0 40 40",
        "cats/0.jpg,red,test,",
        "cats/1.jpg,blue,test,",
    )
    data = load_data(table, seed=0)
    assert data.queries.ids[:2] == ("two.png#0,0,20,40", "two.png#20,0,40,40")
    red, blue = data.queries.images[:2]
    assert red.reshape(-1, 3).mean(0).tolist() == [255, 0, 0]
    assert blue.reshape(-1, 3).mean(0).tolist() == [0, 0, 255]


def test_an_image_is_relevant_if_it_shares_a_label(root: Path) -> None:
    table = write(
        root,
        "path,label,split",
        "cats/0.jpg,cat|night,test",
        "cats/1.jpg,cat,test",
        "dogs/0.jpg,dog|night,test",
        "dogs/1.jpg,dog,test",
        "dogs/2.jpg,fox,test",
    )
    data = load_data(table, seed=0)
    truth = data.ground_truths["labels"]
    assert [rows.tolist() for rows in truth.relevant] == [[1, 2], [0], [0, 3], [2], []]
    assert [rows.tolist() for rows in truth.junk] == [[0], [1], [2], [3], [4]]
    line = np.arange(5, dtype=np.float32)[:, None]
    found = retrieve_listed(line, line, truth, metrics=("P@1",))
    # The nearest of 0 is 1, which is relevant; those of 1, 2 and 3 are two in a tie, of which one is relevant.
    assert found.scores["P@1"] == pytest.approx((1 + 0.5 + 0.5 + 0.5) / 4)
    assert found.empty_queries == 1
    alone = load_data(
        write(root, "path,label,split", "cats/0.jpg,cat,test", "cats/1.jpg,cat,test", "dogs/0.jpg,dog,test"), 0
    )
    assert alone.ground_truths == {} and alone.leave_one_out


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,label", "a.jpg,x"), "has no column 'path'"),
        (("path,label,split", "cats/0.jpg,a,tset"), "images.csv:2: split 'tset' must be one of"),
        (("path,label,split", "cats/0.jpg,a,tset"), "did you mean 'test'?"),
        (("path", "../0.jpg"), "images.csv:2: path '../0.jpg' must be a path below data.root"),
        (("path", "/etc/passwd"), "must be a path below"),
        (("path", "0.jpg"), "0.jpg is in no folder and has no label"),
        (("path,box", "cats/0.jpg,1 2 3"), "must be four numbers"),
        (("path,box", "cats/0.jpg,9 9 3 3"), "must have left < right"),
        (("path,label", "cats/0.jpg,a"), "names 1 classes, two are needed"),
        (("path,label,split", "cats/0.jpg,a,train", "cats/1.jpg,b,train"), "no image is for testing"),
        (("path,label", "cats/0.jpg,a,b,c"), "has more cells"),
        (("path",), "lists no image"),
    ],
)
def test_what_is_wrong_is_one_line(root: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        write(root, *lines).splits(0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_refused(root: Path) -> None:
    (root / "images.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadInput, match="cannot be read"):
        ImageTable(root=str(root), table="images.parquet").splits(0)
    with pytest.raises(BadInput, match=r"must be a \.csv or a \.parquet file"):
        ImageTable(table="images.txt")
