"""Small data sets of real images: handwritten digits, tinted so that a swap of colours would show."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.datasets.digits import Digits
from tests._command import REPOSITORY, Ended, compress_here
from tests._once import shared

# Where 'make legacy', 'make arm', 'make coreai' and so on make them; the Makefile exports the same.
os.environ.setdefault("COMPRESS_LEGACY_PYTHON", str(REPOSITORY / ".venv-legacy/bin/python"))
os.environ.setdefault("COMPRESS_ARM", str(REPOSITORY / ".arm"))
if (REPOSITORY / ".gpu/gpu.stamp").exists():  # where 'make gpu' makes it
    os.environ.setdefault("COMPRESS_GPU", str(REPOSITORY / ".gpu"))
os.environ.setdefault("COMPRESS_WEB", str(REPOSITORY / ".web"))
os.environ.setdefault("COMPRESS_COREAI_PYTHON", str(REPOSITORY / ".venv-coreai/bin/python"))
os.environ.setdefault("COMPRESS_EXECUTORCH_PYTHON", str(REPOSITORY / ".venv-executorch/bin/python"))

# A worker holds half a million objects of the libraries; by default Python walks through them hundreds of times.
gc.set_threshold(50_000, 20, 100)

TINY = """
name: tiny
seed: 3
license: CC0-1.0
data: {{dataset: image_folder, root: "{root}", image_size: 32}}
model:
  {{architecture: alnet, widths: [16, 16, 24], strides: [2, 2, 1], expansions: [1, 3, 3], head_width: 64}}
train: {{epochs: 6, batch_size: 16, lr: 0.05, schedule: one_cycle}}
export:
  - torchscript: {{}}
  - torchscript_lite: {{}}
  - onnx: {{}}
  - tflite: {{}}
  - coreml: {{precision: fp16}}
validate:
  photos: {{longest: 256, queries: 20, kernels: [nearest], qualities: [30]}}
"""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make cases that ``every_change`` does not name nightly; a name is a case's id or a part of it between hyphens."""
    missing = set()
    for item in items:
        marker = item.get_closest_marker("every_change")
        if marker is None:
            continue
        assert isinstance(item, pytest.Function)
        test, case = item.nodeid.partition("[")[0], item.callspec.id
        missing |= {(test, name) for name in marker.args}
        if not {case, *case.split("-")} & set(marker.args):
            item.add_marker(pytest.mark.nightly)
    present = {
        (item.nodeid.partition("[")[0], name)
        for item in items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        for name in (item.callspec.id, *item.callspec.id.split("-"))
    }
    if missing - present and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"every_change names cases that do not exist: {sorted(missing - present)}")


@pytest.fixture(scope="session")
def digit_images() -> np.ndarray:
    """uint8 [10, 500, 28, 28], the first axis being the digit."""
    splits = Digits(test_share=0.01).splits(seed=0)
    images = np.concatenate([splits.train.images, splits.test.images])  # type: ignore[arg-type]
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    return np.stack([images[labels == digit] for digit in range(10)])


@pytest.fixture(scope="session")
def photo(digit_images: np.ndarray) -> Callable[..., Image.Image]:
    """photo(class number, picture number) -> RGB 64x48, the tint being the class's."""

    def make(label: int, number: int) -> Image.Image:
        grey = Image.fromarray(digit_images[label % 10, number]).resize((64, 48))
        tint = np.array([(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40)][label % 4])
        return Image.fromarray((np.asarray(grey)[..., None] / 255 * tint).astype(np.uint8))

    return make


@pytest.fixture(scope="session")
def save_photos(photo: Callable[..., Image.Image]) -> Callable[..., list[Path]]:
    """save_photos(folder, class number, count, first=0, name="{:06d}.jpg") writes different pictures of a class."""

    def save(folder: Path, label: int, count: int, first: int = 0, name: str = "{:06d}.jpg") -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name.format(number) for number in range(first, first + count)]
        for number, path in enumerate(paths, start=first):
            photo(label, number).save(path, quality=95) if path.suffix == ".jpg" else photo(label, number).save(path)
        return paths

    return save


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory, photo: Callable[..., Image.Image]) -> Path:
    """The two emoji packages in small: 40 emoji, of which two share a picture and two have a skin tone.

    Twitter's are palette images, Google's have a transparent rim; the same emoji is the same digit in the same tint.
    """
    root = tmp_path_factory.mktemp("emoji")
    table = [_emoji(f"1f{600 + number}", f"emoji {number:02d}") for number in range(40)]
    for entry in table[:2]:
        tone = _emoji(entry["image"].removesuffix(".png") + "-1f3fb", "")
        entry["skin_variations"] = {"1F3FB": tone}
    table.append({**_emoji("1f999", "google only"), "has_img_twitter": False})
    for place, vendor in enumerate(("google", "twitter")):
        folder = root / vendor / "img" / vendor / "64"
        folder.mkdir(parents=True)
        (root / vendor / "emoji.json").write_text(json.dumps(table), encoding="utf-8")
        for number, entry in enumerate(table[:-1]):
            drawn = 38 if number == 39 and vendor == "google" else number
            picture = photo(drawn, 2 * (drawn // 20) + place).resize((64, 64)).convert("RGBA")
            picture.paste((0, 0, 0, 0), (0, 0, 64, 8))
            saved = picture if vendor == "google" else picture.quantize(64)
            saved.save(folder / entry["image"])
            for tone in entry.get("skin_variations", {}).values():
                picture.putpixel((32, 32), (9, 9, 9, 255))
                picture.save(folder / tone["image"])
    return root


def _emoji(code: str, name: str) -> dict[str, Any]:
    vendors = {"has_img_google": True, "has_img_twitter": True}
    return {"unified": code.upper(), "short_name": name, "image": f"{code}.png", **vendors}


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class Finished:
    """One uninterrupted ``compress run`` that all tests share; they copy ``folder`` before they change it."""

    recipe: Path
    folder: Path
    printed: Ended


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> Finished:
    """A small network trained on tinted digits in ten classes and exported to every format."""
    with shared(tmp_path_factory, "finished") as common:
        recipe, folder, ended = common / "tiny.yaml", common / "bundle", common / "ended.json"
        if not ended.exists():
            for label in range(10):
                save_photos(common / "photos" / f"digit {label}", label, 30)
            recipe.write_text(TINY.format(root=common / "photos"), encoding="utf-8")
            ended.write_text(json.dumps(asdict(compress_here("run", recipe, "--out", folder))), encoding="utf-8")
    return Finished(recipe, folder, Ended(**json.loads(ended.read_text(encoding="utf-8"))))
