from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.data.load import load_data
from compress.datasets.places import Places


@pytest.mark.parametrize(("asking", "found"), [("query", "database"), ("Queries", "gallery")])
def test_queries_search_the_database_which_trains(
    tmp_path: Path, save_photos: Callable[..., list[Path]], asking: str, found: str
) -> None:
    for label, name in enumerate(["bridge", "church"]):
        save_photos(tmp_path / found / name, label, 10)
        save_photos(tmp_path / asking / name / "dusk", label, 2, first=10)
    save_photos(tmp_path / asking / "unknown", 2, 1)
    data = load_data(Places(root=str(tmp_path), image_size=16), seed=0, cache_dir=tmp_path / "cache")
    assert data.classes == ("bridge", "church", "unknown")
    assert (len(data.queries), len(data.gallery), len(data.train), len(data.validation)) == (5, 20, 18, 2)
    assert set(data.train.ids) < set(data.gallery.ids)
    assert not data.open_set
    save_photos(tmp_path / "train" / "square", 3, 10)
    save_photos(tmp_path / "train" / "tower", 1, 10, first=30)
    other = load_data(Places(root=str(tmp_path), image_size=16, validation_share=0.5), seed=0, cache_dir=tmp_path / "c")
    assert other.open_set
    assert not set(other.train.ids) & set(other.gallery.ids)


def test_both_folders_are_needed(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    save_photos(tmp_path / "query" / "bridge", 0, 1)
    with pytest.raises(BadInput, match="places was not found"):
        Places(root=str(tmp_path)).splits(seed=0)
