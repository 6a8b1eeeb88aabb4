"""The Kotlin samples, compiled against stubs of Android and executed on the JVM (``make kotlin``).

The stubs in tests/samples/android let LiteRT itself execute the file and SQLite itself read the gallery.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.bundle.manifest import read_manifest
from compress.commands.import_device_results import import_device_results
from compress.commands.verify import verify
from compress.contracts import BadInput
from tests.samples._kotlin import SAMPLES, compiled, executed

pytestmark = pytest.mark.kotlin


def run(samples: Path, bundle: Path, artifact: str, results: Path) -> subprocess.CompletedProcess[str]:
    return executed(samples, "samples.MainKt", bundle, artifact, results)


def tflite(bundle: Path) -> list[str]:
    return [each.path for each in read_manifest(bundle).artifacts if each.format == "tflite"]


def test_the_samples_check_every_file_and_write_what_the_import_takes(
    samples: Path, bundle: Path, tmp_path: Path
) -> None:
    paths = tflite(bundle)
    assert paths
    for path in paths:
        done = run(samples, bundle, path, tmp_path / "results.json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [line.split()[:2] for line in done.stdout.splitlines()] == [
            ["passed", "min_cosine"],
            ["passed", "golden_neighbours"],
        ]
        (entry,) = import_device_results(bundle, tmp_path / "results.json").entries
        assert (entry.path, entry.runtime, entry.evidence) == (path, "litert on JVM without a phone", "device")
        assert entry.device is not None and entry.parity is not None and entry.latency_ms is not None
        assert entry.parity.min_cosine == pytest.approx(float(done.stdout.split()[2].rstrip(",")), abs=2e-6)
        assert entry.device.pipeline_ms is not None and entry.device.load_ms is not None
        assert entry.device.pipeline_ms.median > entry.latency_ms.median > 0
        assert entry.device.peak_bytes is not None and entry.device.peak_bytes > 10**7
        assert entry.failed == ()
    verified = verify(bundle, "litert")
    assert [line for line in verified.problems if "JVM" in line] == []
    assert [each.path for each in verified.devices] == paths


def test_channels_in_the_wrong_order_fail_on_the_phone_and_the_file_fits_no_other_bundle(
    samples: Path, bundle: Path, tmp_path: Path
) -> None:
    """The negative control: what a phone that decodes to BGR would feed."""
    original = Path(shutil.copytree(bundle, tmp_path / "original"))
    shape = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))["tensors"]["shape"]
    images = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(shape)[..., ::-1]
    (bundle / "golden/images.u8").write_bytes(np.ascontiguousarray(images).tobytes())
    for number, image in enumerate(images):
        Image.fromarray(image).save(bundle / f"golden/images/{number:03d}.png")
    done = run(samples, bundle, tflite(bundle)[0], tmp_path / "results.json")
    assert done.returncode == 1
    assert "FAILED min_cosine" in done.stdout
    with pytest.raises(BadInput, match="other golden images"):
        import_device_results(original, tmp_path / "results.json")


def test_a_phone_that_decodes_other_pixels_is_told(samples: Path, bundle: Path, tmp_path: Path) -> None:
    with Image.open(bundle / "golden/images/000.png") as image:
        Image.fromarray(np.asarray(image)[..., ::-1]).save(bundle / "golden/images/000.png")
    done = run(samples, bundle, tflite(bundle)[0], tmp_path / "results.json")
    assert done.returncode == 1
    assert "this phone decodes other pixels" in done.stderr


def test_a_file_that_the_runtime_refuses_is_a_failure_not_a_score(samples: Path, bundle: Path, tmp_path: Path) -> None:
    path = tflite(bundle)[0]
    (bundle / path).write_bytes(b"no network")
    assert run(samples, bundle, path, tmp_path / "results.json").returncode == 1
    (written,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["artifacts"]
    assert "LiteRT refuses" in written["failure"]
    assert not {"embeddings", "latency_ms", "pipeline_ms", "load_ms"} & set(written)


def test_a_planted_typing_error_is_caught(tmp_path: Path) -> None:
    """The control of the compilation itself."""
    source = (SAMPLES / "CheckBundle.kt").read_text(encoding="utf-8")
    planted = source.replace('Result("golden_neighbours", shares.average(),', 'Result("golden_neighbours", shares,')
    assert planted != source
    (tmp_path / "CheckBundle.kt").write_text(planted, encoding="utf-8")
    done = compiled(tmp_path / "out.jar", tmp_path / "CheckBundle.kt")
    assert done.returncode != 0
    assert "CheckBundle.kt" in done.stderr and "mismatch" in done.stderr
