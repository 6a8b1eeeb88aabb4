"""What an app finds in the .mlpackage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from compress.contracts import BadInput
from compress.recipe.reader import parse_recipe
from compress.run.plan import plan
from tests.exporters.conftest import SIZE
from validators.mlprogram.execute import Executor
from validators.mlprogram.program import Operation, load

PRECISIONS = ("fp32", "fp16")


@pytest.fixture(scope="module", params=PRECISIONS)
def package(request: pytest.FixtureRequest, artifact: Callable[..., Path]) -> Path:
    return artifact(".mlpackage", request.param)


@pytest.fixture(scope="module")
def spec(package: Path) -> Any:
    return ct.models.utils.load_spec(str(package))


def operations(package: Path) -> list[Operation]:
    """Those that compute: precisions differ in the casts at both ends."""
    return [operation for operation in load(package).operations if operation.type != "cast"]


def test_image_in_float32_vector_out(spec: Any) -> None:
    (image,), (embedding,) = spec.description.input, spec.description.output
    assert (image.name, embedding.name) == ("image", "embedding")
    kind = image.type.imageType
    assert kind.colorSpace == ct.proto.FeatureTypes_pb2.ImageFeatureType.RGB
    assert (kind.height, kind.width) == SIZE
    vector = embedding.type.multiArrayType
    assert vector.dataType == ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    assert list(vector.shape) == [1, 1280]


def test_ios_16_loads_it(spec: Any) -> None:
    assert spec.specificationVersion == ct._SPECIFICATION_VERSION_IOS_16
    assert list(spec.mlProgram.functions["main"].block_specializations) == ["CoreML6"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_computation_has_the_precision_of_the_name(artifact: Callable[..., Path], precision: str) -> None:
    kinds = {o.outputs[0].dtype.name for o in operations(artifact(".mlpackage", precision))}
    assert kinds == {precision}


def test_normalisation_is_one_subtraction(package: Path) -> None:
    """Of the mean as pixels have it; the scale is in the convolution's weights."""
    first, constants = operations(package)[:2], load(package).constants
    assert [o.type for o in first] == ["sub", "conv"]
    mean = np.asarray(constants[first[0].arguments["y"][0]], dtype=np.float64).ravel()
    assert mean == pytest.approx([255 * mean for mean in (0.485, 0.456, 0.406)], rel=1e-3)


def test_nothing_comes_near_the_end_of_float16(package: Path, tinted: Callable[..., np.ndarray]) -> None:
    executor = Executor(load(package))
    executor(np.concatenate([tinted(4, *SIZE), np.full((1, *SIZE, 3), 255, np.uint8)]))
    assert 1 < max(each.largest for each in executor.ranges()) < 65504 / 16
    assert executor.notes() == ()


def test_float16_halves_the_weights(artifact: Callable[..., Path]) -> None:
    whole, half = (
        (artifact(".mlpackage", p) / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size for p in PRECISIONS
    )
    assert 0.49 < half / whole < 0.52


def test_the_package_holds_what_its_manifest_lists(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    items = manifest["itemInfoEntries"]
    assert manifest["rootModelIdentifier"] in items
    assert items[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    files = {file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()}
    assert files == {
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    }
    ordinary = {path.is_dir(): path.stat().st_mode for path in (package, package / "Manifest.json")}
    assert all(path.stat().st_mode == ordinary[path.is_dir()] for path in package.rglob("*"))


def test_identifiers_follow_the_content(artifact: Callable[..., Path]) -> None:
    identifiers = [
        set(json.loads((artifact(".mlpackage", p) / "Manifest.json").read_text())["itemInfoEntries"])
        for p in PRECISIONS
    ]
    assert len(identifiers[0]) == len(identifiers[1]) == 2
    assert identifiers[0].isdisjoint(identifiers[1])


def test_metadata(spec: Any) -> None:
    metadata = spec.description.metadata
    assert (metadata.author, metadata.license) == ("compress-retrieval", "CC0-1.0")
    assert metadata.versionString == metadata.userDefined["version"]
    assert metadata.shortDescription == "alnet: uint8 RGB 48x64 image to embedding"
    assert json.loads(metadata.userDefined["std"]) == [0.229, 0.224, 0.225]
    assert metadata.userDefined["distance"] == "l2"
    assert not [key for key in metadata.userDefined if "date" in key]


@pytest.mark.parametrize(("head_width", "refused"), [(64, True), (256, False)])
def test_palettes_that_save_nothing_are_refused_before_anything_trains(head_width: int, refused: bool) -> None:
    model = {"architecture": "alnet", "stem_stride": 2, "widths": [16], "strides": [2], "expansions": [1]}
    document = {
        "name": "small",
        "data": {"dataset": "digits"},
        "model": {**model, "stem_width": 16, "head_width": head_width},
        "train": {},
        "export": [{"coreml": {"precision": "w8"}}, {"coreml": {"precision": "p6"}}],
    }
    recipe = parse_recipe(document, "small.yaml")
    if refused:
        with pytest.raises(BadInput, match=r"^export\.1\.coreml\.precision: p6 saves nothing, as no layer has more"):
            plan(recipe)
    else:
        assert "export: coreml p6" in plan(recipe)
