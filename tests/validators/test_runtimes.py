from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import plugins
from compress.contracts import BadInput, Runtime
from tests.validators import _linear
from tests.validators.conftest import Artifacts
from validators import FORMATS, runtime_named, runtime_titles, runtimes_for
from validators.fork_server import ForkServer
from validators.runtimes.coreml import CoreML
from validators.runtimes.coreml_reference import CoreMLReference
from validators.runtimes.litert import LiteRT
from validators.runtimes.litert_web import LiteRTWeb
from validators.runtimes.onnxruntime import OnnxRuntime
from validators.runtimes.onnxruntime_web import OnnxRuntimeWeb
from validators.runtimes.tflite_runtime import TFLiteRuntime

ROOT = Path(__file__).parents[2]
SERVER = ForkServer()
"""Imports each runtime's libraries once; test_isolation covers processes that import them themselves."""
LEGACY_PYTHON = os.environ["COMPRESS_LEGACY_PYTHON"]
LEGACY = TFLiteRuntime(python=LEGACY_PYTHON)

CANNOT_RUN_HERE = {"tensorflow_lite": "the Python package 'tensorflow' is not installed"}
"""Every runtime of the folder that need not run in the test environment, and why."""
if sys.platform != "darwin":
    CANNOT_RUN_HERE["coreml"] = "Core ML executes only on macOS"
    CANNOT_RUN_HERE["executorch_coreml"] = "ExecuTorch's Core ML delegate executes only on macOS"
SEPARATE = {
    "coreai": ("COMPRESS_COREAI_PYTHON", "coreai"),
    "executorch": ("COMPRESS_EXECUTORCH_PYTHON", "executorch"),
    "executorch_coreml": ("COMPRESS_EXECUTORCH_PYTHON", "executorch"),
    "executorch_coreml_reference": ("COMPRESS_EXECUTORCH_PYTHON", "executorch"),
}
"""Runtimes whose files are written in an environment of their own -> the variable that names its interpreter, and the
command that makes it; skipped without it."""


def found() -> list[Runtime]:
    return [plugins.find(Runtime, name)() for name in plugins.names(Runtime)]


def parametrized(runtimes: list[Runtime]) -> pytest.MarkDecorator:
    """One test for each runtime; those in a browser run with ``make e2e``, which brings the browser."""
    names = [runtime.component_name() for runtime in runtimes]
    cases = [pytest.param(runtime, marks=_marks(runtime)) for runtime in runtimes]
    return pytest.mark.parametrize("runtime", cases, ids=names)


def _marks(runtime: Runtime) -> list[pytest.MarkDecorator]:
    if runtime.processor() == "browser":
        return [pytest.mark.e2e]
    if runtime.component_name() not in SEPARATE or runtime.component_name() in CANNOT_RUN_HERE:
        return []
    variable, target = SEPARATE[runtime.component_name()]
    # Their converters are slow; every change executes them on the quickstart (.ci/run).
    missing = not Path(os.environ[variable]).exists()
    reason = f"{variable}: 'make {target}' makes the environment"
    return [pytest.mark.nightly, pytest.mark.skipif(missing, reason=reason)]


RUNTIMES = [runtime for runtime in found() if runtime.component_name() not in CANNOT_RUN_HERE]
by_runtime = parametrized(RUNTIMES)


def run(runtime: Runtime, artifact: Path, images: np.ndarray) -> np.ndarray:
    done = SERVER.execute(runtime, artifact, {"images": images})
    assert done.failure is None
    assert done.outputs is not None
    return done.outputs["images"]


def file_for(runtime: Runtime, artifacts: Artifacts, size: tuple[int, int]) -> Path:
    (format,) = runtime.formats
    return artifacts[size][format]


def prove(runtime: Runtime, size: tuple[int, int], artifacts: Artifacts, server: ForkServer = SERVER) -> None:
    """Fails unless the runtime embeds exactly, or is known not to run here and says the known reason."""
    reason, known = runtime.unavailable(), CANNOT_RUN_HERE.get(runtime.component_name())
    if reason is not None:
        assert known is not None, reason
        assert reason.startswith(known), reason
        return
    # 130 images need three batches of at most 64.
    sets = {str(count): _linear.photos(count, *size) for count in (0, 1, 5, 130)}
    done = server.execute(runtime, file_for(runtime, artifacts, size), sets)
    assert done.failure is None, done.failure
    assert done.outputs is not None
    assert list(done.outputs) == ["0", "1", "5", "130"]
    for name, images in sets.items():
        found = done.outputs[name]
        assert found.dtype == np.float32
        assert found.shape == (int(name), _linear.DIM)
        assert np.array_equal(found, _linear.expected(images)), name
    library, version, *_ = done.version.split()
    assert library == runtime.package
    assert version[0].isdigit()
    assert done.version == runtime.version()


@pytest.mark.every_change("(7, 5)")
@parametrized(found())
@pytest.mark.parametrize("size", _linear.SIZES, ids=str)
def test_every_runtime_of_the_folder_embeds_exactly(runtime: Runtime, size: tuple[int, int], linear: Artifacts) -> None:
    prove(runtime, size, linear)


def test_every_format_is_executed_here() -> None:
    assert len(found()) >= 10
    assert len(RUNTIMES) >= len(found()) - 3
    assert set().union(*(runtime.formats for runtime in RUNTIMES)) == set(FORMATS.values())


def test_a_runtime_that_never_opens_or_never_runs_here_fails_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linear: Artifacts
) -> None:
    for name, reason in (("closed", None), ("absent", "Core ML executes only on macOS")):
        (tmp_path / "made_up").mkdir(exist_ok=True)
        (tmp_path / "made_up" / f"{name}.py").write_text(MADE_UP.format(name=name.title(), reason=reason))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(plugins.FOLDERS, Runtime, "made_up")
    absent, closed = found()
    with pytest.raises(AssertionError, match=r"closed on linear7x5\.onnx failed: RuntimeError: it does not open"):
        prove(closed, (7, 5), linear, ForkServer())
    with pytest.raises(AssertionError, match="only on macOS"):
        prove(absent, (7, 5), linear)


MADE_UP = """
from dataclasses import dataclass
from compress.contracts import BadInput, Runtime

@dataclass(frozen=True, kw_only=True)
class {name}(Runtime):
    formats, package = frozenset({{"onnx"}}), "numpy"

    def unavailable(self):
        return {reason!r}

    def open(self, path, threads):
        raise RuntimeError("it does not open")
"""


@by_runtime
def test_other_orders_of_the_same_pixels_give_other_embeddings(runtime: Runtime, linear: Artifacts) -> None:
    images = _linear.photos(5, 7, 5)
    controls = {"blue, green, red": images[..., ::-1], "upside down": images[:, ::-1], "mirrored": images[:, :, ::-1]}
    done = SERVER.execute(runtime, file_for(runtime, linear, (7, 5)), controls)
    assert done.outputs is not None
    for name, found in done.outputs.items():
        assert not np.isclose(found, _linear.expected(images)).all(axis=1).any(), name


def test_the_legacy_version_is_the_other_environments() -> None:
    assert LEGACY.version() == "tflite-runtime 2.14.0"


@by_runtime
def test_images_of_another_size_are_a_failure(runtime: Runtime, linear: Artifacts) -> None:
    done = SERVER.execute(runtime, file_for(runtime, linear, (7, 5)), {"images": _linear.photos(2, 5, 7 + 1)})
    assert done.outputs is None
    assert done.failure is not None
    assert "\n" not in done.failure


@pytest.mark.every_change("half")
@by_runtime
@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0], ids=["empty", "half", "overwritten"])
def test_a_damaged_file_is_a_failure(runtime: Runtime, keep: float, linear: Artifacts, tmp_path: Path) -> None:
    good = file_for(runtime, linear, (7, 5))
    damaged = tmp_path / good.name
    (shutil.copytree if good.is_dir() else shutil.copyfile)(good, damaged)
    inside = {".mlpackage": "Data/com.apple.CoreML/model.mlmodel", ".aimodel": "main.mlirb"}
    file = damaged / inside.get(good.suffix, "")
    whole = file.read_bytes()
    file.write_bytes(bytes(255 - b for b in whole) if keep == 1 else whole[: math.floor(keep * len(whole))])
    done = SERVER.execute(runtime, damaged, {"images": _linear.photos(1, 7, 5)})
    assert done.outputs is None
    assert done.failure is not None
    assert done.failure.startswith(f"{runtime.component_name()} on {good.name} ")
    assert "\n" not in done.failure


def test_not_a_number_is_a_value(tmp_path: Path) -> None:
    table = _linear.weights(7, 5)
    table[0, 1] = np.nan
    _linear.write_onnx(tmp_path / "nan.onnx", table, 7, 5)
    found = run(OnnxRuntime(), tmp_path / "nan.onnx", _linear.photos(3, 7, 5))
    assert np.isnan(found[:, 1]).all()
    assert not np.isnan(found[:, [0, 2, 3]]).any()


def test_onnx_files_that_take_something_else_are_named(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "float.onnx"
    _linear.write_onnx(path, _linear.weights(7, 5), 7, 5)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, path)
    done = SERVER.execute(OnnxRuntime(), path, {"images": _linear.photos(1, 7, 5)})
    assert done.failure is not None
    assert "expected one input, uint8 [N,3,H,W]" in done.failure
    assert "image tensor(float)" in done.failure


# -------------------------------------------------------------------------------------------------- tflite


def rewritten(path: Path, edit: Callable[[Any], None], out: Path) -> Path:
    """A copy of a .tflite file after ``edit`` has changed its flatbuffer."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    edit(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(builder.Output())
    return out


@pytest.fixture(scope="module")
def channel_means(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite file with a fixed batch of 1 whose graph would run at any batch."""
    import litert_torch
    import torch

    class Means(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.to(torch.float32).mean((1, 2))

    path = tmp_path_factory.mktemp("means") / "means.tflite"
    litert_torch.convert(Means().eval(), (torch.zeros(1, 7, 5, 3, dtype=torch.uint8),)).export(str(path))
    return path


@pytest.mark.parametrize("runtime", [LiteRT(), LEGACY], ids=["litert", "tflite_runtime"])
def test_tflite_with_a_free_batch_runs_in_batches(runtime: Runtime, channel_means: Path, tmp_path: Path) -> None:
    def free_batch(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].shapeSignature = [-1, 7, 5, 3]

    images = _linear.photos(130, 7, 5)
    found = run(runtime, rewritten(channel_means, free_batch, tmp_path / "free.tflite"), images)
    assert found.shape == (130, 3)
    assert np.allclose(found, images.mean((1, 2)), atol=1e-4)


@pytest.mark.parametrize("runtime", [LiteRT(), LEGACY], ids=["litert", "tflite_runtime"])
def test_tflite_without_a_signature_runs(runtime: Runtime, linear: Artifacts, tmp_path: Path) -> None:
    def unsigned(model: Any) -> None:
        model.signatureDefs = None

    images = _linear.photos(3, 7, 5)
    found = run(runtime, rewritten(linear[7, 5]["tflite"], unsigned, tmp_path / "unsigned.tflite"), images)
    assert np.array_equal(found, _linear.expected(images))


def test_tflite_that_takes_channels_first_is_named(tmp_path: Path) -> None:
    import litert_torch
    import torch

    class Means(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.to(torch.float32).mean((2, 3))

    path = tmp_path / "first.tflite"
    litert_torch.convert(Means().eval(), (torch.zeros(1, 3, 7, 5, dtype=torch.uint8),)).export(str(path))
    done = SERVER.execute(LiteRT(), path, {"images": _linear.photos(1, 7, 5)})
    assert done.failure is not None
    assert "expected an input uint8 [N,H,W,3]" in done.failure
    assert "[1, 3, 7, 5]" in done.failure


# --------------------------------------------------------------------------------------------- availability


def test_core_ml_runs_on_a_mac_and_says_so_elsewhere() -> None:
    reason = CoreML().unavailable()
    if sys.platform == "darwin":
        assert reason is None
    else:
        assert reason is not None
        assert "only on macOS" in reason


def test_a_runtime_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    # The legacy environment holds tflite-runtime and NumPy, nothing else.
    code = "from validators import runtimes_for, FORMATS\nfor f in FORMATS.values():\n for r in runtimes_for(f):\n"
    code += "  print(r.component_name(), '|', r.unavailable())"
    done = subprocess.run(
        [LEGACY_PYTHON, "-c", code],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert answers["tflite_runtime"] == "None"
    libraries = ("torchscript", "torchscript_lite", "onnxruntime", "litert", "tensorflow_lite", "coreml_reference")
    for name in (*libraries, "litert_web", "onnxruntime_web"):
        assert "not installed; install it with: pip install" in answers[name]


def test_tflite_runtime_is_tried_out_in_the_interpreter_it_is_given(tmp_path: Path) -> None:
    for python in (sys.executable, str(tmp_path / "no-such-python")):
        reason = TFLiteRuntime(python=python).unavailable()
        assert reason is not None
        assert python in reason
        assert "tflite-runtime==2.14.0 'numpy<2'" in reason
        assert "\n" not in reason


def test_tflite_runtime_takes_its_interpreter_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_LEGACY_PYTHON", os.path.relpath(LEGACY_PYTHON))
    assert TFLiteRuntime().unavailable() is None
    assert Path(TFLiteRuntime().interpreter()).is_absolute()
    assert TFLiteRuntime(python=sys.executable).interpreter() == sys.executable


def test_nothing_in_the_working_folder_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / ".venv-legacy/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    python.chmod(0o755)
    monkeypatch.delenv("COMPRESS_LEGACY_PYTHON")
    monkeypatch.chdir(tmp_path)
    assert TFLiteRuntime().interpreter() == str(Path(sys.executable).absolute())
    for runtime in chain.from_iterable(map(runtimes_for, FORMATS.values())):
        runtime.unavailable()
    assert not (tmp_path / "executed").exists()
    assert TFLiteRuntime(python=str(python)).unavailable() is not None  # the control: this file would have been seen
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("web", [OnnxRuntimeWeb(), LiteRTWeb()], ids=["onnxruntime_web", "litert_web"])
def test_what_a_browser_lacks_is_named_with_the_remedy(
    web: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason() -> str:
        said = web.unavailable()
        assert said is not None and "\n" not in said
        return said

    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert reason().endswith('pip install "compress-retrieval[web]"')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    assert "apt-get install chromium" in reason()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("COMPRESS_WEB", raising=False)
    assert reason().startswith("COMPRESS_WEB is not set")
    monkeypatch.setenv("COMPRESS_WEB", str(tmp_path))
    assert f"{tmp_path} has no {web.package}" in reason()
    assert "npm install --ignore-scripts" in reason()
    package = tmp_path / "node_modules" / web.package
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "1.2.3"}')
    assert web.unavailable() is None


# ------------------------------------------------------------------------------------------------- registry


def test_runtimes_are_listed_native_first() -> None:
    assert [r.component_name() for r in runtimes_for("tflite")] == [
        "litert",
        "litert_web",
        "tensorflow_lite",
        "tflite_runtime",
    ]
    # Apple's own runtime comes first, so a Mac executes natively and every other system by the reference.
    assert runtimes_for("coreml") == [CoreML(), CoreMLReference()]
    assert runtimes_for("jpeg") == []


def test_every_runtime_declares_what_the_bundle_reports() -> None:
    for runtime in found():
        assert runtime.formats <= set(FORMATS.values())
        assert runtime.evidence() in ("native", "older-runtime", "reference")
        assert runtime.package


def test_every_variant_has_a_title_of_its_own_by_which_it_is_chosen() -> None:
    variants = [variant for runtime in found() for variant in runtime.variants()]
    assert runtime_titles() == {variant.title(): variant for variant in variants}
    assert len(runtime_titles()) == len(variants)
    assert runtime_named("litert-without-xnnpack") == LiteRT(xnnpack=False)
    with pytest.raises(BadInput, match=r"'litert-without-xnnpac' is not one .*did you mean 'litert-without-xnnpack'"):
        runtime_named("litert-without-xnnpac")


def test_nothing_heavy_is_imported_before_an_artifact_runs() -> None:
    code = (
        "import sys, validators, validators.child, compress.system.child_main\n"
        "from compress import plugins\n"
        "from compress.contracts import Runtime\n"
        "for name in plugins.names(Runtime): plugins.find(Runtime, name)().unavailable()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"torch", "onnxruntime", "ai_edge_litert", "coremltools", "tensorflow", "tflite_runtime", "PIL"}
