"""Tables in a terminal: nothing cut short in 80 columns, no colour where none is wanted, completion for shells."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from compress.bundle.manifest import Entry
from compress.commands._tables import print_table
from compress.contracts import Evidence
from tests._command import compress
from tests.conftest import Finished
from validators.results import Gate, LatencyResult, Parity, Retrieval, SourceScores


def entry(precision: str, evidence: Evidence, failed: int) -> Entry:
    gates = (Gate(name=f"a_long_name_of_a_gate_{n}", limit=1, value=1.0, passed=n >= failed) for n in range(12))
    return Entry(
        path="artifacts/a.mlpackage",
        format="coreml",
        precision=precision,
        bytes=12_345_678,
        sha256="ab",
        runtime="coreml",
        runtime_version=None,
        evidence=evidence,
        reason=None,
        parity=Parity.unmeasured(None).model_copy(update={"min_cosine": 0.9999999}),
        retrieval=Retrieval(mAP=0.98765, mAP_drop=0.0),
        latency_ms=LatencyResult(median=123.456, p95=200.0, threads=1),
        gates=tuple(gates),
    )


def test_the_widest_row_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", [entry("w8a32", "older-runtime", 0), entry("w8a8", "reference", 12)], SourceScores(mAP=1.0))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    first, second = [line.split() for line in printed.splitlines() if ".mlpackage" in line]
    assert first == [
        ".mlpackage",
        "w8a32",
        "12.3",
        "MB",
        "123",
        "ms",
        "1.000000",
        "0.9877",
        "older-runtime",
        "12",
        "passed",
    ]
    assert second[-2:] == ["12", "FAILED"]


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """What ``compress`` prints where stdout is a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "COLUMNS": "80", **variables}
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "compress", *arguments],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, follower, 1), (os.POSIX_SPAWN_CLOSE, leader)],
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    os.waitpid(process, 0)
    return b"".join(parts).decode()


def test_colour_is_for_terminals_and_not_where_no_color_says_no(finished: Finished) -> None:
    escape = "\x1b["
    folder = str(finished.folder)
    assert escape in on_a_terminal("compare", folder, folder)
    # NO_COLOR (no-color.org) forbids colours; bold may stay.
    plain = on_a_terminal("compare", folder, folder, NO_COLOR="1")
    assert f"{escape}3" not in plain
    assert escape not in compress("compare", folder, folder).stdout


def test_the_shell_completes_commands_and_runtimes() -> None:
    def completed(words: str) -> list[str]:
        asked = {"_COMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        script = Path(sys.executable).with_name("compress")
        done = subprocess.run([script], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("compress ver") == ["verify"]
    assert completed("compress bench folder --runtime onnx") == ["onnxruntime"]
