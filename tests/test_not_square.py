"""Images that are not square, through the whole chain: recipe, training, files, gallery, search and report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput, Dataset
from compress.data.load import load_data
from compress.datasets.image_folder import ImageFolder
from compress.options import build
from tests._command import compress

SIZE = (24, 40)
RECIPE = """
name: wide
license: CC0-1.0
data: {{dataset: image_folder, root: "{root}", image_size: [24, 40], crop: center}}
model:
  {{architecture: alnet, widths: [16, 16, 24], strides: [2, 2, 1], expansions: [1, 3, 3], head_width: 64}}
train: {{epochs: 5, batch_size: 16, lr: 0.05, schedule: one_cycle, rotation: 5, random_crop: 2, horizontal_flip: true}}
export: [torchscript: {{}}, onnx: {{}}, tflite: {{}}]
"""


@pytest.mark.parametrize(
    ("value", "size"), [(64, (64, 64)), ([48, 64], (48, 64)), ((8, 2048), (8, 2048))], ids=["one", "two", "limits"]
)
def test_one_number_or_two(value: object, size: tuple[int, int]) -> None:
    found: Dataset = build(ImageFolder, {"image_size": value}, "data")
    assert found.size == size


@pytest.mark.parametrize("value", [[48], [48, 64, 3], [7, 64], [64, 4096], "64", 64.5, [64, "48"]])
def test_other_values_are_refused_by_their_key(value: object) -> None:
    with pytest.raises(BadInput) as error:
        build(ImageFolder, {"image_size": value}, "data")
    assert str(error.value).startswith("data.image_size")
    assert "constrained" not in str(error.value) and "tuple[" not in str(error.value)


def test_images_have_the_recipes_height_and_width(save_photos: Callable[..., list[Path]], tmp_path: Path) -> None:
    for label in range(2):
        save_photos(tmp_path / "photos" / str(label), label, 8)
    for crop in ("none", "center"):
        data = load_data(ImageFolder(root=str(tmp_path / "photos"), image_size=SIZE, crop=crop), 0)  # type: ignore[arg-type]
        assert np.asarray(data.train.images[:1]).shape == (1, *SIZE, 3)
        assert data.preprocess.size == SIZE


@pytest.mark.nightly
def test_the_whole_chain(save_photos: Callable[..., list[Path]], tmp_path: Path) -> None:
    for label in range(10):
        save_photos(tmp_path / "photos" / str(label), label, 24)
    (tmp_path / "wide.yaml").write_text(RECIPE.format(root=tmp_path / "photos"), encoding="utf-8")
    bundle = tmp_path / "bundle"
    ended = compress("run", tmp_path / "wide.yaml", "--out", bundle)
    assert ended.code == 0, ended.stdout + ended.stderr
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["preprocess"]["resize"] == list(SIZE)
    assert manifest["architecture"]["input"] == list(SIZE)
    photo = next((tmp_path / "photos" / "3").iterdir())
    for command in (("verify", bundle), ("search", bundle, photo), ("report", bundle), ("bench", bundle)):
        ended = compress(*command)
        assert ended.code == 0, ended.stdout + ended.stderr
    assert "24" in (bundle / "report.html").read_text(encoding="utf-8")
