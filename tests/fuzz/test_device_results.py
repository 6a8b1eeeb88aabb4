"""Files of device results by strangers: refused in one line, or rows that contradict nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.bundle.consistency import inconsistencies
from compress.bundle.manifest import MANIFEST, read_manifest
from compress.commands.import_device_results import import_device_results
from compress.report import write_report
from tests.conftest import Finished
from tests.fuzz._bundles import small
from tests.fuzz._guard import guarded, share
from tests.fuzz._hostile import VALUES, locations, replaced


@pytest.fixture(scope="module")
def bundle(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(finished.folder, tmp_path_factory.mktemp("device") / "original")


def results(bundle: Path) -> dict[str, Any]:
    """What a phone with the right embeddings would write."""
    golden = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))
    (artifact,) = read_manifest(bundle).artifacts
    embeddings = base64.b64encode((bundle / "golden/embeddings.f32").read_bytes()).decode()
    measured = {
        "path": artifact.path,
        "sha256": artifact.sha256,
        "processor": "npu",
        "embeddings": {"shape": golden["embeddings"]["shape"], "base64": embeddings},
        "latency_ms": {"median": 1.0, "p95": 2.0, "threads": 1},
        "pipeline_ms": {"median": 1.0, "p95": 2.0},
        "load_ms": 3,
        "peak_bytes": 1,
        "delegate_share": 0,
    }
    return {
        "schema": 1,
        "golden_sha256": hashlib.sha256((bundle / "golden/images.u8").read_bytes()).hexdigest(),
        "device": {"model": "a phone", "system": "its system"},
        "runtime": {"name": "torchscript", "version": "1"},
        "measured": {"by": "somebody", "at": "2026-11-27"},
        "artifacts": [measured],
    }


def taken(bundle: Path, folder: Path, text: str) -> bool:
    """Import ``text`` into a copy of the bundle, and check what came of it; whether it was taken."""
    shutil.copytree(bundle, folder)
    before = (folder / MANIFEST).read_bytes()
    file = folder.with_name("results.json")
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        with guarded() as refused:
            import_device_results(folder, file)
            assert inconsistencies(folder, read_manifest(folder)) == []
            write_report(folder)
        if refused:
            assert "\n" not in str(refused[0])
            assert (folder / MANIFEST).read_bytes() == before
        return not refused
    finally:
        shutil.rmtree(folder)


def test_the_file_as_it_is_is_taken(bundle: Path, tmp_path: Path) -> None:
    assert taken(bundle, tmp_path / "x", json.dumps(results(bundle)))


@share(0.03)
@given(data=st.data())
def test_a_changed_value(bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    values = results(bundle)
    location, new = data.draw(st.sampled_from(locations(values))), data.draw(VALUES)
    text = json.dumps(replaced(values, location, new))
    kept = taken(bundle, tmp_path_factory.getbasetemp() / "results", text)
    # Only numbers, names of people and things, and the names of a row may be others.
    free = {"model", "system", "name", "version", "by", "path", "median", "p95", "threads"}
    free |= {"load_ms", "peak_bytes", "delegate_share", "latency_ms", "pipeline_ms"}
    assert not kept or location[-1] in free or json.loads(text) == values, (location, new)


@share(0.01)
@given(text=st.one_of(st.text(max_size=50), st.binary(max_size=50).map(lambda found: found.decode("latin-1"))))
def test_no_file_of_results(bundle: Path, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    assert not taken(bundle, tmp_path_factory.getbasetemp() / "nothing", text)
