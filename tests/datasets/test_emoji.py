from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput, Samples
from compress.data.load import load_data
from compress.datasets.emoji import Emoji


def codes(samples: Samples) -> list[str]:
    return [name.rpartition("/")[2].removesuffix(".png") for name in samples.ids]


def test_emoji_that_are_tested_do_not_train_and_the_gallery_is_the_other_vendors(emoji: Path) -> None:
    splits = Emoji(root=str(emoji), test_share=0.25).splits(seed=0)
    assert splits.gallery is not None
    # 40 emoji, one of them a copy of another's picture; floor(0.25 * 39 + 1/2) = 10 are tested.
    assert (len(splits.classes), len(splits.train), len(splits.test), len(splits.gallery)) == (39, 58, 10, 10)
    assert splits.duplicates == 2
    assert all(name.startswith("google/img/google/64/") for name in splits.test.ids)
    assert all(name.startswith("twitter/img/twitter/64/") for name in splits.gallery.ids)
    assert codes(splits.test) == codes(splits.gallery)
    assert splits.test.labels.tolist() == splits.gallery.labels.tolist()
    assert not set(codes(splits.train)) & set(codes(splits.test))
    assert sorted(codes(splits.train) + 2 * codes(splits.test)) == sorted(2 * [f"1f{600 + n}" for n in range(39)])
    for samples in (splits.train, splits.test, splits.gallery):
        expected = [f"emoji {int(code[2:]) - 600:02d}" for code in codes(samples)]
        assert [splits.classes[label] for label in samples.labels] == expected
    assert Emoji(root=str(emoji)).splits(seed=1).test.ids != Emoji(root=str(emoji)).splits(seed=0).test.ids


def test_the_vendors_can_change_places(emoji: Path) -> None:
    one, other = (Emoji(root=str(emoji), query=vendor).splits(seed=0) for vendor in ("google", "twitter"))
    assert one.gallery is not None
    assert other.gallery is not None
    assert (one.test.ids, one.gallery.ids) == (other.gallery.ids, other.test.ids)


def test_skin_tones_are_left_out_or_further_pictures_of_their_class(emoji: Path) -> None:
    toned = Emoji(root=str(emoji), skin_tones="same_class").splits(seed=0)
    assert toned.gallery is not None
    assert len(toned.classes) == 39
    assert len(toned.train) + len(toned.test) + len(toned.gallery) == 2 * 41
    label = {
        code: each for part in (toned.train, toned.test) for code, each in zip(codes(part), part.labels, strict=True)
    }
    assert label["1f600-1f3fb"] == label["1f600"]
    assert label["1f601-1f3fb"] == label["1f601"] != label["1f600"]


def test_pictures_stand_on_white_and_validation_holds_out_whole_emoji(emoji: Path, tmp_path: Path) -> None:
    data = load_data(Emoji(root=str(emoji), image_size=32), seed=0, cache_dir=tmp_path)
    assert data.open_set
    assert not data.leave_one_out
    assert (data.queries.images[:][:, 0] == 255).all()
    assert (data.gallery.images[:][:, 0] == 255).all()
    trained, chosen, asked = (set(part.labels.tolist()) for part in (data.train, data.validation, data.queries))
    assert not trained & chosen
    assert not trained & asked
    assert not chosen & asked
    assert (np.unique(data.validation.labels, return_counts=True)[1] == 2).all()
    # Same images, other roles: another fingerprint, so that nothing of the one run is reused for the other.
    swapped = load_data(Emoji(root=str(emoji), image_size=32, query="twitter"), seed=0, cache_dir=tmp_path)
    assert swapped.fingerprint != data.fingerprint
    with pytest.raises(BadInput, match=r"data\.validation_share=0: no test class of emoji"):
        load_data(Emoji(root=str(emoji), validation_share=0), seed=0, cache_dir=tmp_path)


def test_what_is_missing_or_damaged_is_named(emoji: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unpack the npm packages emoji-datasource-google"):
        Emoji(root=str(tmp_path)).splits(seed=0)
    root = tmp_path / "copy"
    shutil.copytree(emoji, root)
    table = json.loads((root / "google" / "emoji.json").read_text(encoding="utf-8"))
    for broken in (table[0], [{"unified": "1F600"}], [["1F600"]]):
        (root / "google" / "emoji.json").write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(BadInput, match=r"google/emoji\.json: not the table"):
            Emoji(root=str(root)).splits(seed=0)
    outside = [{**table[0], "image": "../../../../secret.png"}, *table[1:]]
    for broken in ("[" * 100_000, json.dumps([10**400]), json.dumps(outside), "\xff"):
        (root / "google" / "emoji.json").write_text(broken, encoding="latin-1")
        with pytest.raises(BadInput, match=r"google/emoji\.json"):
            Emoji(root=str(root)).splits(seed=0)
    with pytest.raises(BadInput, match=r"data\.test_share=0\.99"):
        Emoji(root=str(emoji), test_share=0.99).splits(seed=0)
