"""The wheel alone is enough: from an empty folder, recipes are found by name and the samples are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from compress.recipe.schema import json_schema
from tests._command import REPOSITORY, Ended
from tests._command import compress as compress_of_checkout
from tests._once import shared


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed, without what it depends on."""
    with shared(tmp_path_factory, "wheel") as common:
        target = common / "installed"
        if not target.exists():
            build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(common)]
            subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
            (wheel,) = common.glob("*.whl")
            install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
            subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return target


def compress(installed: Path, folder: Path, *arguments: str | Path) -> Ended:
    """Run the installed wheel's ``compress`` in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(installed / "bin/compress"), *map(str, arguments)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_the_wheel_holds_every_recipe_and_sample_and_no_test(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    for kind in ("recipes", "examples"):
        ours = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / kind).rglob("*.*") if path.is_file()}
        ours = {name for name in ours if "__pycache__" not in name}
        assert len(ours) >= 5
        assert {f"compress/shipped/{name}" for name in ours} == {
            n for n in names if n.startswith(f"compress/shipped/{kind}/")
        }
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/", "recipes/", "examples/")) for name in names)


@pytest.mark.nightly
def test_recipes_of_the_wheel_are_listed_and_run_by_name(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import compress; print(compress.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed)
    listed = compress(installed, tmp_path, "recipes")
    assert listed.code == 0, listed.stderr
    assert "quickstart" in listed.stdout and "mAP 0.850" in listed.stdout
    planned = compress(installed, tmp_path, "run", "quickstart", "--dry-run")
    assert planned.code == 0, planned.stderr
    assert planned.stdout.startswith("data: digits, ")
    copied = compress(installed, tmp_path, "recipes", "--copy", "mine")
    assert copied.code == 0, copied.stderr
    assert (tmp_path / "mine/examples/python/check_bundle.py").is_file()


def test_the_wheel_holds_the_schema_of_our_components(installed: Path, tmp_path: Path) -> None:
    """'make schema' writes it after options have changed; installs without PyTorch print it."""
    written = json.loads((installed / "compress/recipe/recipe.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(json_schema())), "run: make schema"
    printed = compress_of_checkout("schema", without=("torch",))
    assert json.loads(printed.stdout) == written


@pytest.mark.nightly
def test_the_wheel_writes_a_recipe_for_photographs_and_can_run_it(
    installed: Path, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    for label in range(3):
        save_photos(tmp_path / "photos" / f"class {label}", label, 10)
    written = compress(installed, tmp_path, "init", "photos", "--phone", "low")
    assert written.code == 0, written.stderr
    assert "start it with: compress run photos.yaml" in written.stdout
    planned = compress(installed, tmp_path, "run", "photos.yaml", "--dry-run")
    assert planned.code == 0, planned.stderr
    assert "export: tflite fp16" in planned.stdout


@pytest.mark.nightly
def test_the_wheel_makes_a_verified_bundle_of_photographs_in_two_commands(
    installed: Path, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    for label in range(3):
        save_photos(tmp_path / "photos" / f"class {label}", label, 12)
    for command in (
        ("init", "photos", "--phone", "low", "--minutes", "5"),
        ("run", "photos.yaml"),
        ("verify", "runs/photos"),
    ):
        ended = compress(installed, tmp_path, *command)
        assert ended.code == 0, ended.stdout + ended.stderr
