from __future__ import annotations

import fcntl
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput, Latency
from tests.validators import _linear
from tests.validators._misbehaving import DEEDS, Deed, Hanging, Misbehaving, Recording, Trespassing, TrespassingBrowser
from tests.validators.conftest import Artifacts
from validators.isolation import Execution, execute
from validators.runtimes.onnxruntime import OnnxRuntime
from validators.runtimes.tflite_runtime import TFLiteRuntime

ROOT = Path(__file__).parents[2]
IMAGES = _linear.photos(3, 7, 5)
LOCK_DEADLINE_S = 60


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the system calls temporary, for this test only."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def run(deed: Deed) -> Execution:
    return execute(Misbehaving(deed=deed), Path("net.onnx"), {"images": IMAGES})


@pytest.mark.parametrize(
    ("deed", "line"),
    [
        ("abort", "was killed by SIGABRT: the last words"),
        ("segfault", "was killed by SIGSEGV: the last words"),
        ("killed", "was killed by SIGKILL (out of memory?): the last words"),
        ("exit", "ended with exit status 0: the last words"),
        ("short", "failed: ValueError: expected an output float32 [3, D], found float32 [2, 2]"),
        ("flat", "failed: ValueError: expected an output float32 [3, D], found float32 [3]"),
        ("double", "failed: ValueError: expected an output float32 [3, D], found float64 [3, 2]"),
        ("nothing", "failed: ValueError: expected an output float32 [3, D], found None"),
    ],
)
def test_a_bad_end_is_one_line_that_names_it(deed: Deed, line: str, scratch: Path) -> None:
    lacking = "memory" if deed == "killed" else None
    assert run(deed) == Execution(failure=f"_misbehaving on net.onnx {line}", lacking=lacking)
    assert list(scratch.iterdir()) == []


def test_a_long_message_keeps_its_head_and_its_tail() -> None:
    failure = run("raise").failure
    assert failure is not None
    assert failure.startswith("_misbehaving on net.onnx failed: RuntimeError: first line second line xxx")
    assert failure.endswith("xxx the end")
    assert "\n" not in failure
    assert len(failure) < 500


def test_after_any_failure_the_next_artifact_runs() -> None:
    assert run("abort").failure is not None
    done = execute(Recording(), Path("net.onnx"), {"images": IMAGES})
    assert done.failure is None
    assert done.version == "recording 1"


def is_free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until_free(lock: Path) -> bool:
    """Whether every process that holds ``lock`` ends, which the kernel may show a moment later."""
    deadline = time.monotonic() + LOCK_DEADLINE_S
    while not is_free(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_hang_is_stopped_with_every_process_it_started(tmp_path: Path, scratch: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    runtime = Hanging(lock=str(lock), in_native_code=True)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(execute, runtime, Path("net.onnx"), {"images": IMAGES}, timeout_s=6)
        while is_free(lock):  # until the child has come as far as to start a process of its own
            assert not running.done()
            time.sleep(0.02)
        done = running.result()
    line = "_misbehaving on net.onnx did not finish within 6 s and was stopped"
    assert done == Execution(failure=line, lacking="time")
    assert wait_until_free(lock)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_child_ends_and_cleans_up_when_its_parent_is_killed(sent: int, tmp_path: Path, scratch: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    code = (
        # A shell's background job inherits SIGINT as ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; import numpy as np, sys; from tests.validators._misbehaving import Hanging\n"
        "from validators.isolation import execute\n"
        "execute(Hanging(lock=sys.argv[1], in_native_code=False), Path('net.onnx'), "
        "{'images': np.zeros((2, 7, 5, 3), np.uint8)})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(lock)], cwd=ROOT, stderr=subprocess.DEVNULL)
    with parent:
        while is_free(lock):
            assert parent.poll() is None
            time.sleep(0.02)
        assert len(list(scratch.iterdir())) == 1
        parent.send_signal(sent)
    assert parent.returncode != 0
    assert wait_until_free(lock)
    assert list(scratch.iterdir()) == []


def test_the_child_cleans_up_when_its_parent_is_killed_while_writing_images(tmp_path: Path, scratch: Path) -> None:
    code = (
        "from pathlib import Path; import numpy as np, sys, time\n"
        "from tests.validators._misbehaving import Misbehaving\n"
        "from validators.isolation import execute\n"
        "class Slow:\n"
        "    def __len__(self): return 1000\n"
        "    def __getitem__(self, index):\n"
        "        if index.start: Path(sys.argv[1]).touch(); time.sleep(600)\n"
        "        return np.zeros((index.stop, 512, 512, 3), np.uint8)\n"
        "execute(Misbehaving(deed='abort'), Path('net.onnx'), {'images': Slow()})"
    )
    reached = tmp_path / "reached"
    with subprocess.Popen([sys.executable, "-c", code, str(reached)], cwd=ROOT) as parent:
        while not reached.exists():
            assert parent.poll() is None
            time.sleep(0.02)
        (folder,) = scratch.iterdir()
        assert (folder / "images0.npy").stat().st_size > 60_000_000
        parent.kill()
    deadline = time.monotonic() + LOCK_DEADLINE_S
    while list(scratch.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_latency_times_single_real_images() -> None:
    images = {"queries": IMAGES, "none": IMAGES[:0]}
    done = execute(Recording(), Path("net.onnx"), images, latency=(2, 7))
    assert done.failure is None
    assert isinstance(done.latency, Latency)
    assert 0 < done.latency.median <= done.latency.p95
    assert done.latency.threads == 1
    calls = list(done.notes)
    assert len(calls) == 1 + 1 + 2 + 7
    singles = [f"1:{image.sum()}" for image in IMAGES]
    assert calls[0] == f"3:{IMAGES.sum()}"
    assert calls[2:] == singles[:2] + (singles * 3)[:7]


def test_latency_needs_an_image() -> None:
    done = execute(Recording(), Path("x.onnx"), {"images": IMAGES[:0]}, latency=(1, 1))
    assert done.failure == "_misbehaving on x.onnx failed: ValueError: latency needs at least one image"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_reaches_libraries_and_runtime(threads: int) -> None:
    done = execute(Recording(), Path("x.onnx"), {"images": IMAGES}, threads=threads)
    assert done.outputs is not None
    assert done.outputs["images"].tolist() == [[3, IMAGES.sum(), threads, threads]] * 3
    assert done.latency is None


class Decoded:
    """Images that exist only while they are looked at."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = images
        self.largest = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: slice) -> np.ndarray:
        found = self._images[index].copy()
        self.largest = max(self.largest, len(found))
        return found


def test_images_may_be_decoded_piece_by_piece() -> None:
    every = _linear.photos(40, 1024, 1024)  # 3 MB each; at most 64 MiB are decoded at a time
    images = Decoded(every)
    done = execute(Recording(), Path("x.onnx"), {"images": images})
    assert done.outputs is not None
    assert done.outputs["images"].shape == (40, 4)
    assert done.outputs["images"][0, 1] == np.float32(every.sum())
    assert images.largest == 21


def test_strided_and_empty_images_arrive_as_they_are(tmp_path: Path, linear: Artifacts) -> None:
    views = {"turned": IMAGES[::-1, ::-1, :, ::-1], "fortran": np.asfortranarray(IMAGES), "a/b c": IMAGES[1:2]}
    done = execute(OnnxRuntime(), linear[7, 5]["onnx"], views)
    assert done.outputs is not None
    for name, view in views.items():
        assert np.array_equal(done.outputs[name], _linear.expected(view))


def test_no_room_for_the_images_is_a_failure(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(scratch / "gone"))
    done = run("abort")
    assert done.failure is not None
    assert "could not be run" in done.failure
    assert done.lacking == "a process"
    assert "gone" in done.failure


def test_images_that_cannot_be_read_leave_nothing_behind(tmp_path: Path, scratch: Path) -> None:
    class Unreadable(Decoded):
        def __getitem__(self, index: slice) -> np.ndarray:
            raise BadInput("photo.jpg cannot be decoded")

    with pytest.raises(BadInput, match=r"photo\.jpg"):
        execute(Misbehaving(deed="abort"), Path("net.onnx"), {"images": Unreadable(IMAGES)})
    assert list(scratch.iterdir()) == []


def test_an_interpreter_that_ends_at_once_is_a_failure() -> None:
    done = execute(
        TFLiteRuntime(python=shutil.which("false")), Path("net.tflite"), {"images": _linear.photos(40, 512, 512)}
    )
    assert done == Execution(failure="tflite_runtime on net.tflite ended with exit status 1: it printed nothing")


def test_the_child_runs_away_from_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of the user's own must not stand in for a library, and paths may be relative to it.
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    (tmp_path / "validators.py").write_text("raise ImportError('the wrong validators')")
    _linear.write_onnx(tmp_path / "net.onnx", _linear.weights(7, 5), 7, 5)
    monkeypatch.chdir(tmp_path)
    done = execute(OnnxRuntime(), Path("net.onnx"), {"images": IMAGES})
    assert done.failure is None
    assert done.peak_bytes is not None
    assert 10_000_000 < done.peak_bytes < 10_000_000_000


@pytest.mark.parametrize(
    ("kind", "more"),
    [(Trespassing, set()), (TrespassingBrowser, {"unix socket", "socket pair"})],
    ids=["any", "browser"],
)
def test_an_artifact_reaches_neither_the_network_nor_files_that_are_not_its_own(
    kind: type[Trespassing], more: set[str], tmp_path: Path
) -> None:
    for name in ("kept", "doomed"):
        (tmp_path / name).write_text("as it was")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "service"))
        service.listen()
        runtime = kind(folder=str(tmp_path), port=server.getsockname()[1])
        done = execute(runtime, Path("net.onnx"), {"images": IMAGES})
        here = runtime.open(Path("net.onnx"), 1)(IMAGES)  # the control, last: unconfined, everything succeeds
    assert done.outputs is not None, done.failure
    assert here[0].tolist() == [1] * len(DEEDS)
    allowed = {deed for deed, value in zip(DEEDS, done.outputs["images"][0], strict=True) if value}
    # CI and every kernel from 6.2 have both; elsewhere the answer is that nothing is denied.
    expected = ("filesystem", "network") if sys.platform == "linux" else ()
    assert done.sandbox == expected
    assert allowed == ({"own folder"} | more if expected else set(DEEDS))
