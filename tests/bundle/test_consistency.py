"""No value of bundle.json can be changed unseen, whether its checksum is made again or not."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.bundle.consistency import NO_RECIPE, checksum, gallery_inconsistencies, inconsistencies
from compress.bundle.manifest import MANIFEST, read_manifest
from compress.contracts import BadInput
from compress.gallery.store import GALLERY, read_gallery
from tests.conftest import Finished

Place = tuple[str | int, ...]


@pytest.fixture
def bundle(finished: Finished, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(finished.folder, folder)
    return folder


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every value that holds no others; an empty list or mapping is one."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = list(inner)
    if not inner:
        yield place
    for key, item in inner:
        yield from leaves(item, (*place, key))


def replaced(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 + 0.01
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, list):
        return ["x"]
    return {"x": "x"} if isinstance(value, dict) else 0.5


def changed(values: dict[str, Any], place: Place) -> dict[str, Any]:
    other = copy.deepcopy(values)
    holder: Any = other
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = replaced(holder[place[-1]])
    return other


def seen(folder: Path, values: dict[str, Any]) -> bool:
    (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
    try:
        manifest = read_manifest(folder)
    except BadInput:
        return True
    return bool(inconsistencies(folder, manifest) or gallery_inconsistencies(manifest, read_gallery(folder / GALLERY)))


def test_an_untouched_bundle_contradicts_nothing(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert inconsistencies(bundle, manifest) == []
    assert gallery_inconsistencies(manifest, read_gallery(bundle / GALLERY)) == []
    assert manifest.checksum == checksum(json.loads((bundle / MANIFEST).read_text(encoding="utf-8")))


@pytest.mark.nightly
def test_every_single_changed_value_is_seen(bundle: Path) -> None:
    values = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    places = list(leaves(values))
    assert len(places) > 250
    unseen = [place for place in places if not seen(bundle, changed(values, place))]
    assert unseen == []


BOUND_BY_A_SIGNATURE_ALONE = {
    "architecture", "calibration", "compatibility", "controls", "created_by", "data", "embedding", "files", "gallery",
    "latency_ms", "minimum_ios", "notes", "parity", "preprocess", "pytorch_mobile", "quantization", "ranking", "reason",
    "retrieval", "runtime", "runtime_version", "evidence", "source", "stored", "neighbours", "separation", "plan",
    "photos", "sha256",
}  # fmt: skip


@pytest.mark.every_change("every twentieth")
@pytest.mark.parametrize("step", [20, 1], ids=["every twentieth", "all"])
def test_who_makes_the_checksum_again_is_still_seen_where_files_tell(step: int, bundle: Path) -> None:
    """A changed limit, verdict, size, name, licence, recipe hash or preprocessing contradicts the files."""
    values = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    unseen = []
    for place in [place for place in leaves(values) if place[0] != "checksum"][::step]:
        other = changed(values, place)
        other["checksum"] = checksum(other)
        if not seen(bundle, other):
            unseen.append(place)
    sections = {str(place[2]) if place[0] == "artifacts" else str(place[0]) for place in unseen}
    assert sections <= BOUND_BY_A_SIGNATURE_ALONE, sections - BOUND_BY_A_SIGNATURE_ALONE
    assert not {
        place for place in unseen if place[0] in ("name", "license", "recipe_sha256") or place[-1] in ("bytes", "limit")
    }
    assert not {place for place in unseen if place[-1] in ("passed", "distance", "dim", "kind", "resize", "crop")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.update(files={}), "not listed in bundle.json"),
        (lambda values: values["artifacts"].pop(), "contradicts recipe.yaml"),
        (lambda values: values["artifacts"][0]["gates"].pop(), "contradicts recipe.yaml and the precision"),
        (lambda values: values["artifacts"][0]["gates"][0].update(limit=-1.0), "contradicts"),
        (lambda values: values["compatibility"].clear(), "compatibility"),
    ],
)
def test_what_is_dropped_or_relaxed_is_named(bundle: Path, change: Any, words: str) -> None:
    values = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    change(values)
    values["checksum"] = checksum(values)
    (bundle / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
    found = inconsistencies(bundle, read_manifest(bundle))
    assert any(words in line for line in found), found
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize("changed", ["data: x", "model: 5", "export: [x]", "export: {}", "validate: {gates: [1]}"])
def test_a_file_that_is_no_recipe_is_named(bundle: Path, changed: str) -> None:
    sound = "data: {}\nmodel: {}\nvalidate: {}\nexport: []\n"
    for text, wrong in (("", True), (sound, False), (re.sub(f"{changed.split(':')[0]}:.*", changed, sound), True)):
        (bundle / "recipe.yaml").write_text(text)
        assert (NO_RECIPE in inconsistencies(bundle, read_manifest(bundle))) is wrong


def test_a_file_that_no_run_made_is_named_but_not_the_runs_own_folder(bundle: Path) -> None:
    (bundle / "golden" / "extra.bin").write_bytes(b"x")
    (bundle / "empty").mkdir()
    (bundle / ".compress" / "more").write_bytes(b"x")
    assert inconsistencies(bundle, read_manifest(bundle)) == [
        "golden/extra.bin: not listed in bundle.json; no run made it, remove it"
    ]
