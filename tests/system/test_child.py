"""A function in a child process: its result, or one line that says what became of it and whether the machine failed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compress.contracts import CompressError, MissingTool
from compress.system import sandbox
from compress.system.child import ChildFailed, Lacking, call, child, lacking


def act(job: Mapping[str, Any], scratch: Path) -> Any:
    match job["deed"]:
        case "answer":
            return {"sum": sum(job["numbers"]), "text": (scratch / "text").read_text()}
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "memory":
            raise MemoryError
        case "allocator":
            raise RuntimeError("std::bad_alloc")
        case "wrong":
            raise ValueError("a wrong\nfile")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "nonsense":
            (scratch / "result.json").write_text("{")
            os._exit(0)
        case "hang":
            signal.pause()
        case "write":
            Path(job["file"]).write_bytes(b"1")
            return list(sandbox.held())


def test_a_result_comes_back_and_nothing_is_left_behind() -> None:
    with child(act, {"deed": "answer", "numbers": [1, 2, 4]}) as started:
        (started.scratch / "text").write_text("as given")
        assert started.result(60) == {"sum": 7, "text": "as given"}
    assert not started.scratch.exists()


@pytest.mark.parametrize(
    ("deed", "line", "lacks"),
    [
        ("full", "failed: OSError: [Errno 28] No space left on device", "disk space"),
        ("memory", "failed: MemoryError: ", "memory"),
        ("allocator", "failed: RuntimeError: std::bad_alloc", "memory"),
        ("killed", "was killed by SIGKILL (out of memory?): it printed nothing", "memory"),
        ("hang", "did not finish within 2 s and was stopped", "time"),
        ("wrong", "failed: ValueError: a wrong file", None),
        ("nonsense", "ended with exit status 0: it printed nothing", None),
    ],
)
def test_a_failure_says_whether_the_machine_lacked_something(deed: str, line: str, lacks: Lacking | None) -> None:
    with pytest.raises(ChildFailed) as caught:
        call(act, {"deed": deed}, timeout_s=2 if deed == "hang" else 60)
    assert (caught.value.line.strip(), caught.value.lacking) == (line.strip(), lacks)
    error = caught.value.error("gallery.index: flat")
    assert str(error) == f"gallery.index: flat {caught.value.line}"
    assert type(error) is (CompressError if lacks is None else MissingTool)


def test_what_the_caller_cannot_write_is_the_machines_failure_too() -> None:
    with pytest.raises(ChildFailed, match="No space left") as caught, child(act, {"deed": "answer"}):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.lacking == "disk space"
    with pytest.raises(ChildFailed, match="no-such-python") as caught:
        call(act, {}, interpreter="/no-such-python")
    assert caught.value.lacking == "a process"


def test_only_known_words_excuse_a_failure() -> None:
    assert lacking("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes") == "memory"
    assert lacking("ValueError: expected an output float32 [3, D]") is None


def test_a_child_writes_to_the_device_files_it_was_given() -> None:
    job = {"deed": "write", "file": "/dev/zero"}
    with child(act, job, writable=[Path("/dev/zero")]) as started:
        confined = started.result(60)
    if "filesystem" in confined:  # the control
        with pytest.raises(ChildFailed, match="PermissionError"):
            call(act, job, timeout_s=60)
