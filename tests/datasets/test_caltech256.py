from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.datasets.caltech256 import Caltech256


@pytest.mark.parametrize("above", ["", "caltech256"])
def test_classes_are_the_names_without_number(
    tmp_path: Path, save_photos: Callable[..., list[Path]], above: str
) -> None:
    folder = tmp_path / above / "256_ObjectCategories"
    for label, name in enumerate(["001.ak47", "056.dog", "257.clutter"]):
        save_photos(folder / name, label, 10, name=name[:3] + "_{:04d}.jpg")
    save_photos(folder / "056.dog" / "greg", 3, 2)  # not Caltech's dogs
    splits = Caltech256(root=str(tmp_path)).splits(seed=0)
    assert splits.classes == ("ak47", "dog")
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([0] * 8 + [1] * 8, [0, 0, 1, 1])
    assert all(name.startswith(("001.ak47/001_", "056.dog/056_")) for name in splits.train.ids + splits.test.ids)
    assert Caltech256(root=str(tmp_path), clutter=True).splits(seed=0).classes == ("ak47", "dog", "clutter")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data\.caltech\.edu"):
        Caltech256(root=str(tmp_path)).splits(seed=0)
