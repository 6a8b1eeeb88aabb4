from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import validators
from compress.contracts import BadInput, CompressError, MissingTool
from tests.validators import _linear
from tests.validators.conftest import Artifacts
from validators import ArtifactError, format_of, run_artifact

IMAGES = _linear.photos(5, 7, 5)


@pytest.mark.every_change("tflite")
@pytest.mark.parametrize("format", _linear.FORMATS)
def test_the_best_runtime_of_the_suffix_embeds(format: str, linear: Artifacts) -> None:
    found = run_artifact(str(linear[7, 5][format]), IMAGES)
    assert found.dtype == np.float32
    assert np.array_equal(found, _linear.expected(IMAGES))
    assert not np.array_equal(found, _linear.expected(IMAGES[..., ::-1]))


def test_no_images_give_no_embeddings(linear: Artifacts) -> None:
    assert run_artifact(linear[7, 5]["onnx"], IMAGES[:0]).shape == (0, _linear.DIM)


def test_a_named_runtime_is_the_one_that_runs(linear: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    path = linear[7, 5]["tflite"]
    assert np.array_equal(run_artifact(path, IMAGES, runtime="litert"), _linear.expected(IMAGES))
    monkeypatch.setenv("COMPRESS_LEGACY_PYTHON", "/no/such/python")
    with pytest.raises(MissingTool, match="/no/such/python"):
        run_artifact(path, IMAGES, runtime="tflite_runtime")


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("onnxruntime", "'onnxruntime' does not run tflite artifacts .*litert"),
        ("liter", "did you mean 'litert'"),
    ],
)
def test_a_runtime_that_does_not_fit_is_bad_input(runtime: str, message: str, linear: Artifacts) -> None:
    with pytest.raises(BadInput, match=message):
        run_artifact(linear[7, 5]["tflite"], IMAGES, runtime=runtime)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((IMAGES / 255).astype(np.float32), "uint8 .* values 0-255, not float32"),
        (IMAGES.astype(np.int64), "not int64"),
        (IMAGES[0], r"not \[7, 5, 3\]; give one image as images\[None\]"),
        (IMAGES.transpose(0, 3, 1, 2), r"\[N, H, W, 3\].* not \[5, 3, 7, 5\]"),
        (IMAGES[..., :1], r"not \[5, 7, 5, 1\]"),
        (IMAGES[:, :0], "without pixels"),
        (IMAGES.tolist(), "not list"),
    ],
)
def test_images_of_another_kind_are_bad_input(images: Any, message: str, linear: Artifacts) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        run_artifact(linear[7, 5]["onnx"], images)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.onnx: no such artifact"):
        run_artifact(tmp_path / "gone.onnx", IMAGES)


@pytest.mark.parametrize("name", ["net.jpg", "net", "net.pt.txt"])
def test_an_unknown_suffix_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match=r"\.pt, \.ptl, \.onnx, \.tflite, \.mlpackage"):
        format_of(name)


def test_a_damaged_artifact_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ArtifactError, match=r"net\.onnx: onnxruntime on net\.onnx failed: ") as caught:
        run_artifact(path, IMAGES)
    assert isinstance(caught.value, CompressError)
    assert "\n" not in str(caught.value)


def test_the_package_says_whose_it_is() -> None:
    assert validators.BELONGS_TO == "compress-retrieval"
