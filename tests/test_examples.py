"""The samples app teams copy: they read the same files, check the same numbers and use commands that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from compress.commands.verify import verify
from tests._command import REPOSITORY, compress
from tests.conftest import Finished

EXAMPLES = REPOSITORY / "examples"


def check(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Run the Python sample where neither Compress nor PyTorch can be imported by accident."""
    script = bundle.parent / "check_bundle.py"
    shutil.copy(EXAMPLES / "python/check_bundle.py", script)
    hidden = {"PYTHONPATH": str(REPOSITORY / "tests/_without"), "HIDDEN_PACKAGES": "torch,compress,validators"}
    command = [sys.executable, str(script), str(bundle)]
    return subprocess.run(
        command, cwd=bundle.parent, env={**os.environ, **hidden}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def bundle(finished: Finished, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".compress"))
    return folder


def test_the_python_sample_measures_what_verify_measures(bundle: Path) -> None:
    done = check(bundle)
    assert done.returncode == 0, done.stderr
    printed = {line.split()[1]: float(line.split()[2].rstrip(",")) for line in done.stdout.splitlines()}
    (tflite,) = [each for each in verify(bundle, "litert").entries if each.format == "tflite"]
    assert tflite.parity is not None and tflite.neighbours is not None
    assert printed["min_cosine"] == pytest.approx(tflite.parity.min_cosine, abs=2e-6)
    assert printed["golden_neighbours"] == pytest.approx(tflite.neighbours.golden_neighbours, abs=2e-6)


def test_the_python_sample_fails_on_channels_in_the_wrong_order(bundle: Path) -> None:
    shape = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))["tensors"]["shape"]
    images = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(shape)
    (bundle / "golden/images.u8").write_bytes(np.ascontiguousarray(images[..., ::-1]).tobytes())
    done = check(bundle)
    assert done.returncode == 1
    assert "FAILED min_cosine" in done.stdout
    assert "FAILED golden_neighbours" in done.stdout


@pytest.mark.parametrize(
    "file", ["android/CheckBundle.kt", "android/AndroidBundle.kt", "android/DeviceResults.kt", "ios/CheckBundle.swift"]
)
def test_the_phones_samples_name_files_and_keys_that_bundles_have(finished: Finished, file: str) -> None:
    """What can become outdated without a phone is the names; ``make kotlin`` and ``make swift`` compile the samples."""
    source = (EXAMPLES / file).read_text(encoding="utf-8")
    paths = set(re.findall(r"[a-z]+/[a-z]+\.(?:json|u8|f32|sqlite)", source)) | (
        {"bundle.json"} if "ios" in file else set()
    )
    assert paths
    for path in paths:
        assert (finished.folder / path).is_file(), path
    known = keys(json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8")))
    known |= keys(json.loads((finished.folder / "golden/golden.json").read_text(encoding="utf-8")))
    used = set(re.findall(r"get(?:JSONObject|JSONArray|String|Double|Int|Boolean|Value)\(\"(\w+)\"\)", source))
    used |= {
        name for line in re.findall(r"struct \w+: Decodable \{(.*)", source) for name in re.findall(r"let (\w+):", line)
    }
    assert used
    assert used <= known | {"min_cosine", "golden_neighbours"}, used - known


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys(item)}
    return {key for item in value for key in keys(item)} if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("phone", "screen", "constant"),
    [("android", "SearchActivity.kt", "ARTIFACT"), ("ios", "SearchScreen.swift", "artifactPath")],
)
def test_a_readme_leads_into_a_new_project_in_ten_lines(phone: str, screen: str, constant: str) -> None:
    """It names every source file, and the artifact and the constant of the screen."""
    readme = (EXAMPLES / phone / "README.md").read_text(encoding="utf-8")
    steps = re.findall(r"^(\d+)\. ", readme, re.MULTILINE)
    assert steps == [str(number + 1) for number in range(len(steps))] and 5 <= len(steps) <= 10
    sources = {path.name for path in (EXAMPLES / phone).rglob(f"*{Path(screen).suffix}")}
    assert sources <= {name.rpartition("/")[2] for name in re.findall(rf"`([\w/]+{Path(screen).suffix})`", readme)}
    source = (EXAMPLES / phone / "offline" / screen).read_text(encoding="utf-8")
    (artifact,) = re.findall(rf'{constant} = "(artifacts/quickstart\.[^"]+)"', source)
    assert f"`{constant}`" in readme and f"`{artifact}`" in readme


# ------------------------------------------------------------------------------------------------ GitHub Actions


def commands() -> dict[str, list[list[str]]]:
    """Job -> the words of each of its commands."""
    workflow = YAML(typ="safe").load((EXAMPLES / "ci/verify-bundle.yml").read_text(encoding="utf-8"))
    assert {"push", "pull_request"} <= set(workflow["on"])  # YAML 1.1 would read the key 'on' as true
    return {
        name: [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
        for name, job in workflow["jobs"].items()
    }


def test_the_workflow_runs_on_linux_and_on_a_mac_and_keeps_the_verdict() -> None:
    workflow = YAML(typ="safe").load((EXAMPLES / "ci/verify-bundle.yml").read_text(encoding="utf-8"))
    assert [job["runs-on"].partition("-")[0] for job in workflow["jobs"].values()] == ["ubuntu", "macos"]
    for name, job in workflow["jobs"].items():
        last = job["steps"][-1]
        assert last["uses"].startswith("actions/upload-artifact@")
        assert last["if"] == "always()"
        (written,) = [words[words.index(">") + 1] for words in commands()[name] if ">" in words]
        assert last["with"]["path"] == written
    (mac,) = [words for words in commands()["macos"] if "verify" in words]
    assert mac[mac.index("--runtime") + 1] == "coreml"


@pytest.mark.nightly
@pytest.mark.parametrize("job", ["linux", "macos"])
def test_the_workflows_commands_are_those_of_the_command_line(job: str, bundle: Path) -> None:
    for words in commands()[job]:
        if words[0] == "pip":
            assert words[1:] == ["install", "compress-retrieval[verify]"]
            continue
        assert words[0] == "compress"
        arguments = words[1 : words.index(">")] if ">" in words else words[1:]
        arguments = [str(bundle) if word == "$BUNDLE" else word for word in arguments]
        # Core ML is a Mac's: here it is said to be missing, which only a command that was understood says.
        ended = compress(*arguments)
        missing = "coreml" in arguments and sys.platform != "darwin"
        assert ended.code == (3 if missing else 0), ended.stderr
        if "--json" in arguments and not missing:
            assert json.loads(ended.stdout)["passed"] is True
