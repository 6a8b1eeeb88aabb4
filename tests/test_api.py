"""The Python interface: quick to import, the same results as the command line, and the notebook that shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import compress
from compress import Bundle, load_recipe, run
from compress.contracts import BadInput
from tests._command import REPOSITORY, compress_here
from tests.conftest import Finished

HEAVY = ("torch", "numpy", "PIL", "pydantic", "typer", "ruamel")


def test_importing_it_loads_nothing() -> None:
    code = "import sys, compress; print(*sys.modules); print(*dir(compress))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "compress" in loaded
    assert not loaded & set(HEAVY)


def test_run_is_the_function_whatever_was_imported_before() -> None:
    code = "import compress.run.workspace, compress.pipeline; from compress import run; print(type(run).__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "function"
    assert set(compress.__all__) == {"Bundle", "load_recipe", "run"}
    with pytest.raises(AttributeError, match="no attribute 'bundles'"):
        _ = compress.bundles  # type: ignore[attr-defined]


def test_a_bundle_is_searched_and_verified_as_by_the_command_line(finished: Finished) -> None:
    bundle = Bundle.open(finished.folder)
    assert [artifact.format for artifact in bundle.artifacts] == [
        *("torchscript", "torchscript-lite", "onnx", "tflite", "coreml"),
    ]
    assert bundle.name == "tiny" and not bundle.problems
    path = sorted(finished.recipe.parent.glob("photos/*/*.jpg"))[0]
    by_file = bundle.search(path, top=3, artifact="tiny.fp32.onnx")
    with Image.open(path) as picture:
        picture.load()
    assert bundle.search(picture, top=3, artifact="tiny.fp32.onnx") == by_file
    assert bundle.search(np.asarray(picture), top=3, artifact="tiny.fp32.onnx") == by_file
    printed = compress_here("search", finished.folder, path, "--top", "3", "--artifact", "tiny.fp32.onnx").stdout
    for match in by_file.matches:
        assert match.name in printed
    with pytest.raises(BadInput, match=r"uint8 \[H, W, 3\]"):
        bundle.search(np.zeros((8, 8), np.uint8))
    verification = bundle.verify("onnxruntime")
    assert not verification.problems
    assert [entry.format for entry in verification.entries if entry.evidence == "native"] == ["onnx"]


def test_what_is_wrong_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"bundle\.json"):
        Bundle.open(tmp_path)
    with pytest.raises(BadInput, match="did you mean 'quickstart'"):
        load_recipe("quickstrat")
    with pytest.raises(BadInput, match="'training' is not a step of quickstart"):
        run("quickstart", tmp_path / "out", until="training")
    assert not (tmp_path / "out").exists()


def test_a_run_that_stops_gives_no_bundle(finished: Finished, tmp_path: Path) -> None:
    assert run(load_recipe(finished.recipe, ["seed=4"]), tmp_path / "out", until="data") is None


@pytest.mark.nightly
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each code cell in order, as Jupyter would; it is stored without outputs."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((REPOSITORY / "examples/notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 4
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    printed = capsys.readouterr().out
    assert "notebook" not in printed or "mAP" in printed
    assert "lowest cosine 0.99" in printed or "lowest cosine 1.0" in printed
    assert len(names["answer"].matches) == 5
