"""Tables in a terminal: nothing cut short in 80 columns, no colour where none is wanted, completion for shells."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.bundle.manifest import Entry
from compress.bundle.processors import matrix
from compress.commands._tables import print_matrix, print_table
from compress.contracts import Evidence
from tests._command import compress
from tests.conftest import Finished
from validators.results import Device, Gate, LatencyResult, Parity, Retrieval, SourceScores


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
    emulated = entry("w8a32", "emulated-arm", 0).model_copy(update={"processor": "arm"})
    print_table("title", [emulated, entry("w8a8", "reference", 12)], SourceScores(mAP=1.0))
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
        "Arm",
        "emulated",
        "12",
        "passed",
    ]
    assert second[-2:] == ["12", "FAILED"]


DEVICE = Device(
    model="Google Pixel 8 Pro", system="Android 16", measured_by="x", measured_at="2026-11-27", results_sha256=""
)
REFUSED = (Gate(name="runs", limit=1, value=0.0, passed=False),)


def matrix_of_five() -> list[Entry]:
    """Two files, of which the second fails on Arm, is refused by the GPU and was not run in the browser."""
    places: list[dict[str, Any]] = [
        {"runtime": "litert", "processor": "x86", "evidence": "native"},
        {"runtime": "tflite_runtime", "processor": "x86", "evidence": "older-runtime"},
        {"runtime": "litert-arm", "processor": "arm", "evidence": "emulated-arm"},
        {"runtime": "litert-gpu", "processor": "gpu", "evidence": "gpu-software"},
        {"runtime": "litert_web", "processor": "browser", "evidence": "native"},
        {"runtime": "litert on Google Pixel 8 Pro, gpu", "processor": "gpu", "evidence": "device", "device": DEVICE},
    ]
    first, second = (entry(precision, "native", 0) for precision in ("fp32", "w8a8"))
    second = second.model_copy(update={"path": "artifacts/b.mlpackage"})
    rows = [each.model_copy(update=changed) for each in (first, second) for changed in places]
    rows[8] = rows[8].model_copy(update={"gates": entry("w8a8", "native", 3).gates})
    rows[9] = rows[9].model_copy(update={"gates": REFUSED, "evidence": "not-run"})
    rows[10] = rows[10].model_copy(update={"gates": (), "evidence": "not-run"})
    return rows


def test_the_matrix_says_of_every_processor_whether_a_file_ran(capsys: pytest.CaptureFixture[str]) -> None:
    print_matrix(matrix_of_five())
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    words = [line.split() for line in printed.splitlines() if line.strip(" ─")]
    assert words[0] == ["Arm", "GPU"]
    assert words[1] == ["artifact", "x86", "emulated", "older", "software", "browser"]
    assert words[2] == [".mlpackage", "fp32", "passed", "passed", "passed", "passed", "passed"]
    assert words[3] == [".mlpackage", "w8a8", "passed", "FAILED", "passed", "refused", "not", "run"]
    assert [line.split() for line in printed.splitlines() if "Pixel" in line] == [
        ["artifact", "Google", "Pixel", "8", "Pro", "GPU"]
    ]


def test_the_gravest_outcome_of_a_cell_counts() -> None:
    rows = [entry("fp32", "native", 0), entry("fp32", "native", 2)]
    rows = [each.model_copy(update={"processor": "x86"}) for each in rows]
    for order in (rows, rows[::-1]):
        assert matrix(order).rows == ((".mlpackage fp32", ("FAILED",)),)


def test_rows_say_where_they_ran(capsys: pytest.CaptureFixture[str]) -> None:
    rows = matrix_of_five()
    print_table("title", rows)
    printed = [line for line in capsys.readouterr().out.splitlines() if ".mlpackage" in line]
    first = ["x86", "x86, older", "Arm emulated", "GPU software", "browser", "Pixel 8 Pro G…"]
    second = [*first[:3], "GPU  ", *first[4:]]
    for line, words in zip(printed, first + second, strict=True):
        assert f"0.9877  {words}" in line
    assert [line.split()[-2:] for line in printed[8:11]] == [["3", "FAILED"], ["GPU", "refused"], ["not", "run"]]


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
    assert completed("compress bench folder --runtime onnx") == ["onnxruntime", "onnxruntime-arm", "onnxruntime_web"]
