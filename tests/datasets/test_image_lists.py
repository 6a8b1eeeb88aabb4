from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.data.load import load_data
from compress.datasets.image_lists import ImageLists


@pytest.fixture
def root(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / name, label, 6, name="{}.jpg")
    return tmp_path


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name


def test_classes_come_from_the_list_or_the_folder(root: Path, tmp_path: Path) -> None:
    write(root / "queries.txt", "# to ask with", "cats/0.jpg", "", "dogs/0.jpg,cats", '"dogs/1.jpg", "dogs"')
    gallery = write(root / "gallery.csv", "cats/1.jpg", "dogs/2.jpg")
    train = write(root / "train.txt", "cats/2.jpg", "cats/3.jpg", "dogs/3.jpg", "dogs/4.jpg")
    splits = ImageLists(root=str(root), gallery=gallery, train=train).splits(seed=0)
    assert splits.gallery is not None
    assert splits.classes == ("cats", "dogs")
    assert splits.test.ids == ("cats/0.jpg", "dogs/0.jpg", "dogs/1.jpg")
    assert splits.test.labels.tolist() == [0, 0, 1]
    assert (splits.gallery.labels.tolist(), splits.train.labels.tolist()) == ([0, 1], [0, 0, 1, 1])
    assert splits.ground_truths == {}
    alone = load_data(ImageLists(root=str(root), image_size=16), seed=0, cache_dir=tmp_path / "cache")
    assert alone.leave_one_out
    assert len(alone.train) == 0
    assert not load_data(
        ImageLists(root=str(root), gallery=gallery, train=train, image_size=16, validation_share=0.5), seed=0
    ).open_set


def test_pairs_say_what_is_relevant_and_a_query_never_finds_itself(root: Path) -> None:
    write(root / "queries.txt", "cats/0.jpg", "dogs/0.jpg")
    gallery = write(root / "gallery.txt", "cats/0.jpg", "cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg")
    pairs = write(root / "pairs.csv", "cats/0.jpg,cats/0.jpg", "cats/0.jpg,dogs/2.jpg", "cats/0.jpg,cats/1.jpg,junk")
    data = load_data(ImageLists(root=str(root), gallery=gallery, pairs=pairs, image_size=16), seed=0)
    truth = data.ground_truths["pairs"]
    assert [rows.tolist() for rows in truth.relevant] == [[3], []]
    assert [rows.tolist() for rows in truth.junk] == [[0, 1], []]
    assert truth.form == "step"
    # By classes alone an image that is a query and in the gallery would find itself.
    with pytest.raises(BadInput, match=r"cats/0\.jpg is a query and in the gallery"):
        load_data(ImageLists(root=str(root), gallery=gallery, image_size=16), seed=0)


@pytest.mark.parametrize(
    ("file", "line", "text"),
    [
        ("queries.txt", "cats/0.jpg,cats,more", r"queries\.txt:1: .* must be 2 entries at most"),
        ("queries.txt", "../0.jpg", r"queries\.txt:1: \.\./0\.jpg must be a path below data\.root"),
        ("queries.txt", "/etc/passwd", "must be a path below"),
        ("queries.txt", "# nothing", "lists no image"),
        ("gallery.txt", "cats/0.jpg,", r"gallery\.txt:1: .*none of them empty"),
        ("pairs.txt", "cats/0.jpg", r"pairs\.txt:1: .*must be query,image"),
        ("pairs.txt", "cats/0.jpg,cats/1.jpg,maybe", r"must be query,image or query,image,junk"),
        ("pairs.txt", "cats/5.jpg,cats/1.jpg", r"pairs\.txt:1: cats/5\.jpg is not in the list of the queries"),
        ("pairs.txt", "cats/0.jpg,dogs/5.jpg", r"dogs/5\.jpg is not in the list of the gallery"),
    ],
)
def test_a_wrong_line_is_named(root: Path, file: str, line: str, text: str) -> None:
    write(root / "queries.txt", "cats/0.jpg", "dogs/0.jpg")
    write(root / "gallery.txt", "cats/1.jpg", "dogs/1.jpg")
    write(root / "pairs.txt", "cats/0.jpg,cats/1.jpg")
    write(root / file, line)
    with pytest.raises(BadInput, match=text):
        ImageLists(root=str(root), gallery="gallery.txt", pairs="pairs.txt").splits(seed=0)


def test_pairs_need_a_gallery() -> None:
    with pytest.raises(BadInput, match="pairs: say what is searched"):
        ImageLists(pairs="pairs.txt")


def test_a_line_of_column_names_is_no_image_and_paths_may_begin_with_a_dot(root: Path) -> None:
    write(root / "queries.txt", "path,class", "./cats/0.jpg", "dogs//0.jpg")
    gallery = write(root / "gallery.csv", "Image,Label", "cats/1.jpg", "./dogs/1.jpg,dogs")
    pairs = write(root / "pairs.csv", "query,image", "./cats/0.jpg,cats/./1.jpg", "dogs/0.jpg,./dogs/1.jpg,junk")
    splits = ImageLists(root=str(root), gallery=gallery, pairs=pairs).splits(seed=0)
    assert splits.gallery is not None
    assert (splits.test.ids, splits.gallery.ids) == (("cats/0.jpg", "dogs/0.jpg"), ("cats/1.jpg", "dogs/1.jpg"))
    assert splits.classes == ("cats", "dogs")
    truth = splits.ground_truths["pairs"]
    assert [[rows.tolist() for rows in part] for part in (truth.relevant, truth.junk)] == [[[0], []], [[], [1]]]


def test_with_pairs_images_need_no_class_but_training_images_do(
    root: Path, save_photos: Callable[..., list[Path]]
) -> None:
    save_photos(root, 2, 4, name="{}.jpg")
    write(root / "queries.txt", "0.jpg")
    gallery = write(root / "gallery.txt", "1.jpg", "2.jpg")
    pairs = write(root / "pairs.txt", "0.jpg,1.jpg")
    options = {"root": str(root), "gallery": gallery, "image_size": 16}
    data = load_data(ImageLists(**options, pairs=pairs), seed=0)  # type: ignore[arg-type]
    assert data.classes == ("unlabelled",)
    assert [rows.tolist() for rows in data.ground_truths["pairs"].relevant] == [[0]]
    with pytest.raises(BadInput, match=r"queries\.txt:1: 0\.jpg lies in no folder and has no class"):
        ImageLists(**options).splits(seed=0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="lies in no folder and has no class"):
        ImageLists(**options, pairs=pairs, train=write(root / "t.txt", "3.jpg")).splits(seed=0)  # type: ignore[arg-type]
    train = write(root / "t.txt", "cats/1.jpg")
    with pytest.raises(BadInput, match=r"the training images in .* name 1 classes, two are needed"):
        ImageLists(**options, pairs=pairs, train=train).splits(seed=0)  # type: ignore[arg-type]


def test_names_that_no_file_can_have_are_reported(root: Path) -> None:
    write(root / "queries.txt", *(f"{name}/{number}.jpg" for name in ("cats", "dogs") for number in range(6)))
    with (root / "queries.txt").open("a", encoding="utf-8") as file:
        file.write(f"cats/{'n' * 5000}.jpg\n")
    os.mkfifo(root / "cats" / "pipe.jpg")
    with (root / "queries.txt").open("a", encoding="utf-8") as file:
        file.write("cats/pipe.jpg\n")
    data = load_data(ImageLists(root=str(root), image_size=16, max_skipped_share=0.2), seed=0)
    assert sorted(data.skipped.values()) == ["File name too long", "not a regular file"]
    write(root / "queries.txt", "cats/0\0.jpg")
    with pytest.raises(BadInput, match="must be a path below"):
        ImageLists(root=str(root)).splits(seed=0)
