"""An artifact that stays loaded: the same embeddings as a fresh process gives, and no runtime can take us down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests._command import REPOSITORY
from tests.conftest import Finished
from tests.validators._misbehaving import Deed, Hanging, Misbehaving
from validators import ArtifactError, choose_runtime, run_artifact
from validators.resident import Resident


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def resident(finished: Finished) -> Iterator[Resident]:
    made = Resident(choose_runtime("onnx"), finished.folder / "artifacts/tiny.fp32.onnx")
    yield made
    made.close()


def test_it_gives_what_a_fresh_process_gives(resident: Resident, finished: Finished, images: np.ndarray) -> None:
    expected = run_artifact(finished.folder / "artifacts/tiny.fp32.onnx", images)
    found = [resident.embed(image) for image in images]
    np.testing.assert_allclose(np.concatenate([embedding for embedding, _ in found]), expected, rtol=1e-5, atol=1e-6)
    assert all(milliseconds > 0 for _, milliseconds in found)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_a_wrong_image_is_an_error_and_the_next_one_works(resident: Resident, images: np.ndarray) -> None:
    expected, _ = resident.embed(images[0])
    with pytest.raises(ArtifactError, match=r"onnxruntime on tiny\.fp32\.onnx failed: .*dimensions"):
        resident.embed(images[0, :5])
    np.testing.assert_array_equal(resident.embed(images[0])[0], expected)


def test_it_starts_again_after_it_was_closed(resident: Resident, images: np.ndarray) -> None:
    expected, _ = resident.embed(images[0])
    resident.close()
    resident.close()
    np.testing.assert_array_equal(resident.embed(images[0])[0], expected)


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("abort", "was killed by SIGABRT.*: the last words"),
        ("segfault", "was killed by SIGSEGV"),
        ("exit", "ended with exit status 0.*: the last words"),
        ("raise", "failed: RuntimeError: first line second line"),
        ("short", r"expected an output float32 \[1, D\]"),
        ("double", "found float64"),
        ("nothing", "found None"),
    ],
)
def test_a_runtime_that_misbehaves_is_an_error_each_time(
    tmp_path: Path, images: np.ndarray, deed: Deed, words: str
) -> None:
    made = Resident(Misbehaving(deed=deed), tmp_path / "any")
    for _ in range(2):
        with pytest.raises(ArtifactError, match=words):
            made.embed(images[0])
    made.close()


def test_a_damaged_artifact_says_so(tmp_path: Path, images: np.ndarray) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    made = Resident(choose_runtime("onnx"), tmp_path / "broken.onnx")
    with pytest.raises(ArtifactError, match=r"broken\.onnx failed: InvalidProtobuf: .*"):
        made.embed(images[0])
    made.close()


def test_a_hang_is_stopped(tmp_path: Path, images: np.ndarray) -> None:
    (tmp_path / "lock").touch()
    made = Resident(Hanging(lock=str(tmp_path / "lock"), in_native_code=True), tmp_path / "any", timeout_s=4)
    with pytest.raises(ArtifactError, match="did not finish within 4 s and was stopped"):
        made.embed(images[0])
    made.close()


def test_the_child_ends_and_cleans_up_when_its_parent_is_killed(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import time; from pathlib import Path; import numpy as np\n"
        "from tests.validators._misbehaving import Recording\n"
        "from validators.resident import Resident\n"
        "resident = Resident(Recording(), Path('net.onnx'))\n"
        "resident.embed(np.zeros((2, 2, 3), np.uint8))\n"
        "print('embedded', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        said, left = parent.stdout.readline(), list(scratch.iterdir())
        parent.kill()
    assert (said, len(left)) == ("embedded\n", 1)
    deadline = time.monotonic() + 60
    while list(scratch.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
