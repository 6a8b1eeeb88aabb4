"""Splits that could not be scored are refused before anything trains, and the advice given leads to ones that can."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from compress import pipeline
from compress.contracts import BadInput, Loss
from compress.data.hold_out import divided
from compress.data.relevance import answerable, need_answers
from compress.datasets.image_folder import ImageFolder
from compress.losses.cross_entropy import CrossEntropy
from compress.losses.triplet import Triplet
from compress.recipe.reader import load_recipe
from compress.run.plan import plan
from compress.stages.train import Train
from tests._stages import with_options

RECIPE = """
name: few
data: {{dataset: image_folder, root: "{root}", image_size: 32}}
model:
  architecture: gem
  trunk: {{alnet: {{widths: [16, 16], strides: [2, 2], expansions: [1, 3], cbam: false, head_width: 32}}}}
  dim: 16
  distance: cosine
train: {{epochs: 1, batch_size: 4, lr: 0.05, loss: {loss}}}
export: [{{onnx: {{}}}}]
"""


def write_names(root: Path, images: int) -> Path:
    """Three classes of so many files, which nothing decodes here."""
    for name in ("cats", "dogs", "hens"):
        (root / name).mkdir(parents=True)
        for number in range(images):
            (root / name / f"{number}.jpg").write_text(f"{name} {number}")
    return root


def refusal(root: Path, loss: Loss, options: dict[str, float]) -> str | None:
    """What a run would say before it trains; None where it would train, and then all can be scored."""
    dataset = ImageFolder(root=str(root), **options)  # type: ignore[arg-type]
    splits = dataset.splits(seed=0)
    try:
        need_answers(dataset, splits.train.labels, splits.test.labels, None, {})
        division = divided(dataset, splits, seed=0)
        with_options(Train, loss=loss).check_data(division)
    except BadInput as error:
        return str(error)
    assert answerable(splits.test.labels, splits.test.labels, leave_one_out=True).any()
    assert loss.classifies or answerable(division.validation, division.validation, leave_one_out=True).any()
    return None


@pytest.mark.parametrize("images", range(5, 25))
@pytest.mark.parametrize("loss", [CrossEntropy(), Triplet()])
def test_advice_leads_to_splits_that_can_be_scored(tmp_path: Path, images: int, loss: Loss) -> None:
    root, options, refused = write_names(tmp_path, images), {}, []
    while (message := refusal(root, loss, options)) is not None:
        refused.append(message)
        found = re.search(r"set data\.(\w+) to ([\d.]+) or more", message)
        assert found or "data.validation_share=0.1: no class" in message, message
        key, value = (found[1], float(found[2])) if found else ("validation_share", 0.3)
        assert options.get(key, 0) < value < 1, message
        options[key] = value
    # As was seen: up to 7 images no query has an answer, and up to 18 no validation image.
    assert any("no test image" in line for line in refused) == (images < 8)
    assert any("no validation image" in line for line in refused) == (not loss.classifies and images < 19)


def test_where_no_share_helps_images_must_be_added(tmp_path: Path) -> None:
    message = refusal(write_names(tmp_path, 4), Triplet(), {"test_share": 0.4, "validation_share": 0.3})
    assert message is not None
    assert message.endswith("no validation image has another one of its class to find; add images")


def test_both_ways_to_start_refuse_before_anything_is_written(
    tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "photos" / name, label, 12)
    recipe = tmp_path / "few.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "photos", loss="triplet"), encoding="utf-8")
    text = (
        r"train: loss: triplet has the best weights chosen by searching, .*set data\.validation_share to 0\.15 or more"
    )
    with pytest.raises(BadInput, match=text):
        plan(load_recipe(recipe))
    with pytest.raises(BadInput, match=text):
        pipeline.run(load_recipe(recipe), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    plan(load_recipe(recipe, ["data.validation_share=0.15"]))
    few = [f"data.root={tmp_path / 'photos'}", "data.test_share=0.05", "train.loss=cross_entropy"]
    text = r"no test image of image_folder has another one of its class to find; set data\.test_share to 0\.13 or more"
    with pytest.raises(BadInput, match=text):
        plan(load_recipe(recipe, few))
    with pytest.raises(BadInput, match=text):
        pipeline.run(load_recipe(recipe, few), tmp_path / "bundle")


def test_a_batch_needs_as_many_classes(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_names(tmp_path, 30)))
    division = divided(dataset, dataset.splits(seed=0), seed=0)
    with_options(Train, loss=Triplet(), batch_size=12, per_class=4).check_data(division)
    with pytest.raises(
        BadInput, match="per_class: a batch of 16 holds 4 classes, but 3 train; set batch_size to 12 or"
    ):
        with_options(Train, loss=Triplet(), batch_size=16, per_class=4).check_data(division)
