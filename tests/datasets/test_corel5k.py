from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.datasets.corel5k import Corel5k


def test_the_published_lists_make_the_gallery_and_the_queries(
    tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    for label, theme in enumerate(["1000", "101000"]):
        save_photos(tmp_path / "images" / theme, label, 10, name="100{}.jpeg")
    drawn = Corel5k(root=str(tmp_path)).splits(seed=0)
    assert drawn.gallery is None
    assert (len(drawn.train), len(drawn.test), drawn.classes) == (18, 2, ("1000", "101000"))
    lists = tmp_path / "labels"
    lists.mkdir()
    (lists / "corel5k_train_list.txt").write_text("".join(f"1000/{n}\n101000/{n}\n" for n in range(1000, 1009)))
    (lists / "corel5k_test_list.txt").write_text("1000/1009\n101000/1009\n")
    splits = Corel5k(root=str(tmp_path)).splits(seed=0)
    assert splits.gallery is splits.train
    assert splits.test.ids == ("1000/1009.jpeg", "101000/1009.jpeg")
    assert (len(splits.train), splits.test.labels.tolist()) == (18, [0, 1])
    (lists / "corel5k_test_list.txt").write_text("1000/1010\n")
    with pytest.raises(BadInput, match=r"corel5k_test_list\.txt: there is no photograph 1000/1010"):
        Corel5k(root=str(tmp_path)).splits(seed=0)


def test_a_list_that_is_no_text_is_named(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(["1000", "2000"]):
        save_photos(tmp_path / "images" / name, label, 4)
    for name in ("corel5k_train_list.txt", "corel5k_test_list.txt"):
        (tmp_path / name).write_bytes(b"1000/\xff\xfe")
    with pytest.raises(BadInput, match=r"corel5k_train_list\.txt: damaged"):
        Corel5k(root=str(tmp_path)).splits(seed=0)
