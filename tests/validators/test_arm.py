"""The runtimes' Arm builds under qemu, which ``make arm`` makes; what only a real emulator shows needs that folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import host_processor
from tests.validators import _linear
from tests.validators.conftest import Artifacts
from validators import runtime_named
from validators.isolation import execute
from validators.runtimes._arm import ArmRuntime
from validators.runtimes.litert import LiteRT
from validators.runtimes.onnxruntime import OnnxRuntime
from validators.runtimes.tflite_runtime import TFLiteRuntime

EVERY: tuple[ArmRuntime, ...] = (LiteRT(arm=True), OnnxRuntime(arm=True), TFLiteRuntime(arm=True))
SIZE = (7, 5)
WITHOUT = LiteRT(arm=True).unavailable()

emulated = pytest.mark.skipif(host_processor() == "arm", reason="this machine executes Arm code itself")
with_folder = pytest.mark.skipif(WITHOUT is not None, reason=f"{WITHOUT}")


def fake_folder(folder: Path, command: str) -> Path:
    """An Arm folder with every package, whose emulator says its version and otherwise executes ``command``."""
    for environment, packages in (("current", ("ai-edge-litert", "onnxruntime")), ("older", ("tflite-runtime",))):
        for name in packages:
            info = folder / environment / "lib/python3.11/site-packages" / f"{name.replace('-', '_')}-1.2.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    qemu = folder / "qemu-aarch64"
    said = '[ "$1" != --version ] || { echo "qemu-aarch64 version 10.0.1 (Debian)"; exit; }'
    qemu.write_text(f"#!/bin/sh\n{said}\n{command}\n")
    qemu.chmod(0o755)
    return folder


@pytest.mark.nightly  # CI runs the quickstart's files on Arm
@with_folder
@pytest.mark.parametrize("runtime", EVERY, ids=ArmRuntime.title)
def test_the_arm_build_embeds_exactly_and_confined(runtime: ArmRuntime, linear: Artifacts) -> None:
    (format,) = runtime.formats
    images = _linear.photos(5, *SIZE)
    done = execute(runtime, linear[SIZE][format], {"images": images})
    assert done.failure is None
    assert done.outputs is not None
    assert np.array_equal(done.outputs["images"], _linear.expected(images))
    assert done.sandbox == execute(OnnxRuntime(), linear[SIZE]["onnx"], {"images": images}).sandbox
    assert runtime.version().startswith(done.version)


@emulated
def test_a_row_that_x86_computed_is_no_arm_row(
    linear: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: everything answers as the emulator would, but this machine's Python executes the file."""
    here = f'while [ "$1" != -m ]; do shift; done; exec {sys.executable} "$@"'
    monkeypatch.setenv("COMPRESS_ARM", str(fake_folder(tmp_path / "arm", here)))
    runtime, images = OnnxRuntime(arm=True), {"images": _linear.photos(5, *SIZE)}
    assert runtime.unavailable() is None
    done = execute(runtime, linear[SIZE]["onnx"], images)
    assert done.outputs is None
    assert done.failure == "onnxruntime-arm on linear7x5.onnx was executed on an x86 processor, not on an Arm processor"
    assert execute(replace(runtime, arm=False), linear[SIZE]["onnx"], images).failure is None


@emulated
def test_what_is_missing_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason() -> str:
        found = runtime_named("litert-arm").unavailable()
        assert found is not None
        assert "\n" not in found
        assert "make arm" in found
        return found

    monkeypatch.delenv("COMPRESS_ARM")
    assert "COMPRESS_ARM is not set" in reason()
    monkeypatch.chdir(fake_folder(tmp_path / "arm", "false"))  # a folder in which one works is never trusted
    assert "COMPRESS_ARM is not set" in reason()
    monkeypatch.setenv("COMPRESS_ARM", str(tmp_path / "none"))
    assert "qemu-aarch64 does not run" in reason()
    monkeypatch.setenv("COMPRESS_ARM", str(tmp_path / "arm"))
    assert runtime_named("litert-arm").unavailable() is None
    (tmp_path / "arm/current/lib/python3.11/site-packages/ai_edge_litert-1.2.dist-info/METADATA").unlink()
    (tmp_path / "arm/current/lib/python3.11/site-packages/ai_edge_litert-1.2.dist-info").rmdir()
    assert "has no ai-edge-litert" in reason()


@emulated
def test_the_row_names_emulator_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_ARM", str(fake_folder(tmp_path / "arm", "false")))
    for title in ("litert-arm", "litert-arm-without-xnnpack", "tflite_runtime-arm", "onnxruntime-arm"):
        runtime = runtime_named(title)
        assert (runtime.title(), runtime.processor(), runtime.evidence()) == (title, "arm", "emulated-arm")
        assert not runtime.timed()
        assert runtime.version() == f"{runtime.package} 1.2 on qemu 10.0.1, cortex-a76"
    other = LiteRT(arm=True, cpu_model="cortex-a53")
    assert other.version().endswith("cortex-a53")
    assert other.emulator()[1:3] == ("-cpu", "cortex-a53")


def test_an_arm_machine_executes_arm_code_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for runtime, evidence in zip(EVERY, ("native", "native", "older-runtime"), strict=True):
        native = replace(runtime, arm=False)
        assert (runtime.processor(), runtime.evidence()) == ("arm", evidence)
        assert native.processor() == "arm"
        assert (runtime.emulator(), runtime.interpreter()) == ((), native.interpreter())
        assert runtime.version() == native.version()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux confines")
@pytest.mark.parametrize("emulator", [False, pytest.param(True, marks=with_folder)])
def test_an_emulator_is_confined_before_it_starts(emulator: bool, tmp_path: Path) -> None:
    code = """
import socket, sys
from pathlib import Path
def tried(deed):
    try:
        deed()
    except PermissionError:
        return 0
    return 1
own, other = Path(sys.argv[1]), Path(sys.argv[2])
deeds = (lambda: (own / "f").write_text(""), lambda: (other / "f").write_text(""), socket.socket)
print(*map(tried, deeds), sys.argv[3:])
"""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / "task.json").write_text('{"writable": [], "own_sockets": false}')
    on = LiteRT(arm=emulator)
    command = [*on.emulator(), on.interpreter(), "-c", code, str(own), str(other)]
    confined = [sys.executable, "-m", "compress.system.confined", str(own), *command]
    free, held = (subprocess.run(each, capture_output=True, text=True, check=True) for each in (command, confined))
    assert free.stdout.split() == ["1", "1", "1", "[]"]
    assert held.stdout.strip() == "1 0 0 ['filesystem,network']"
