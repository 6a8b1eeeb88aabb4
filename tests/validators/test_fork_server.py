from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.validators import _linear
from tests.validators._misbehaving import Deed, Hanging, Misbehaving
from tests.validators.conftest import Artifacts
from validators.fork_server import ForkServer
from validators.isolation import execute
from validators.runtimes.onnxruntime import OnnxRuntime
from validators.runtimes.torchscript import TorchScript

SIZE = (7, 5)
IMAGES = {"images": _linear.photos(3, *SIZE)}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.mark.every_change("abort")
@pytest.mark.parametrize(
    ("deed", "line"),
    [
        ("abort", "was killed by SIGABRT: the last words"),
        ("killed", "was killed by SIGKILL (out of memory?): the last words"),
        ("exit", "ended with exit status 0: the last words"),
        ("short", "failed: ValueError: expected an output float32 [3, D], found float32 [2, 2]"),
    ],
)
def test_a_bad_end_is_one_line_and_the_next_file_runs(
    deed: Deed, line: str, server: ForkServer, linear: Artifacts
) -> None:
    done = server.execute(Misbehaving(deed=deed), Path("net.onnx"), IMAGES)
    assert done.failure == f"_misbehaving on net.onnx {line}"
    for runtime, name in ((OnnxRuntime(), "onnx"), (TorchScript(), "torchscript")):
        path = linear[SIZE][name]
        found, right = server.execute(runtime, path, IMAGES), execute(runtime, path, IMAGES)
        assert found.outputs is not None and right.outputs is not None, found.failure
        np.testing.assert_array_equal(found.outputs["images"], right.outputs["images"])
        assert found.sandbox == right.sandbox


def test_a_hang_ends_with_the_time_limit(server: ForkServer, linear: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    hanging = Hanging(lock=str(tmp_path / "lock"), in_native_code=False)
    done = server.execute(hanging, linear[SIZE]["onnx"], IMAGES, timeout_s=3)
    assert done.failure is not None and "did not finish within 3 s" in done.failure
    assert server.execute(OnnxRuntime(), linear[SIZE]["onnx"], IMAGES).outputs is not None


def test_it_starts_again_if_its_process_has_gone(server: ForkServer, linear: Artifacts) -> None:
    assert server.execute(OnnxRuntime(), linear[SIZE]["onnx"], IMAGES).outputs is not None
    server._child._child.kill()
    server._child._child.process.wait()
    assert server.execute(OnnxRuntime(), linear[SIZE]["onnx"], IMAGES).outputs is not None
