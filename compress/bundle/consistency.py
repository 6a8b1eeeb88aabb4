"""Compare bundle.json with the bundle's other files: every value that can be recomputed is checked.

If someone changes the files and bundle.json together, these checks pass; only a signature can detect that
(``compress sign``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import compress
from compress import plugins
from compress.bundle.manifest import MANIFEST, ArtifactEntry, Entry, IndexedGallery, Manifest, compared
from compress.contracts import TIMED, BadInput, EmbeddingKind, Exporter
from compress.gallery.store import Gallery
from compress.recipe.overrides import parse_yaml
from compress.system.bounded_reading import parse_json, read_json, read_text
from compress.system.files import artifact_bytes, artifact_sha256
from compress.system.path_containment import file_inside, plain_files
from validators import FORMATS
from validators.file_metadata import read_metadata
from validators.gates import (
    NOT_FROM_GOLDEN,
    OF_NO_ARTIFACT,
    OLD_GALLERY_GAIN,
    RULES,
    STATIC,
    default_limits,
    evaluate_gates,
    limits_on,
    located_all,
)
from validators.results import Gate, Upgrade
from validators.upgrade import OLD, least_gain

SIGNATURE = "bundle.sig"
"""The file into which ``compress sign`` writes the signature."""
UNLISTED = frozenset({MANIFEST, "report.html", SIGNATURE})
"""Files of a bundle that bundle.json does not list: itself, the report made from it, and the signature."""
_MOST_BYTES = 64 * 2**20
NO_RECIPE = "recipe.yaml: not a recipe that a run wrote"
STATE = ".compress"
"""The folder of the run's own files; an app does not read it."""


def inconsistencies(folder: Path, manifest: Manifest) -> list[str]:
    """One line per value of bundle.json that contradicts a file of the bundle, or another value."""
    recipe = recipe_values(folder)
    found = [
        *_checksum(folder, manifest),
        *_unlisted(folder, manifest),
        *([NO_RECIPE] if recipe is None else _against_recipe(folder, manifest, recipe)),
        *_against_metrics(folder, manifest),
    ]
    for artifact in manifest.artifacts:
        found += _against_file(folder, artifact, manifest)
        for entry in artifact.entries():
            found += _against_own_values(entry)
            found += [] if recipe is None else _limits(entry, manifest, recipe)
    executed = {"pytorch", *(name for each in manifest.artifacts for name in compared(each).values())}
    executed |= set() if manifest.upgrade is None else {OLD}
    if not executed <= set(manifest.compatibility) <= executed | {"teacher"}:
        found.append(_line("compatibility", sorted(set(manifest.compatibility) ^ executed), "the executed artifacts"))
    elif manifest.upgrade is not None:
        found += _upgrade(manifest.upgrade, manifest.compatibility[OLD], recipe)
    found += [
        _line(f"controls.{control.name}.caught", control.caught, "its failed_gates")
        for control in manifest.controls
        if control.caught != bool(control.failed_gates)
    ]
    if isinstance(manifest.gallery, IndexedGallery):
        found += _judged_again("gallery", manifest.gallery.gates, {"gallery.recall@10": manifest.gallery.recall})
    return found


def _upgrade(
    upgrade: Upgrade, old_gallery: Mapping[str, float | None], recipe: Mapping[str, Any] | None
) -> Iterator[str]:
    gain, lowest = least_gain(old_gallery)
    if (upgrade.gain, upgrade.lowest, upgrade.old_mAP) != (gain, lowest, old_gallery[OLD]):
        yield _line("upgrade.gain", upgrade.gain, f"compatibility ({gain}, of {lowest})")
    yield from _judged_again("upgrade", upgrade.gates, {"upgrade.gain_low": upgrade.gain_low})
    limit = 0.0 if recipe is None else (recipe["validate"].get("gates") or {}).get(OLD_GALLERY_GAIN, 0.0)
    if recipe is not None and [(gate.name, gate.limit) for gate in upgrade.gates] != [(OLD_GALLERY_GAIN, limit)]:
        yield _line("upgrade.gates", [gate.limit for gate in upgrade.gates], f"recipe.yaml ({limit})")


def changed_files(folder: Path, manifest: Manifest) -> list[str]:
    """One line per file that is missing or changed."""
    recorded = {**manifest.files, **{artifact.path: artifact.sha256 for artifact in manifest.artifacts}}
    problems = []
    for name, sha256 in recorded.items():
        path = folder / name
        if not path.exists():
            problems.append(f"{name}: missing")
        elif artifact_sha256(path) != sha256:
            problems.append(f"{name}: changed since the bundle was made (sha256 differs)")
    return problems


def gallery_inconsistencies(manifest: Manifest, gallery: Gallery) -> list[str]:
    """One line per value that contradicts the gallery's own table ``meta``."""
    recorded = {"images": manifest.gallery.images, "of": manifest.gallery.of, "name": manifest.name}
    return [
        _line(key if key == "name" else f"gallery.{key}", value, f"the gallery ({gallery.meta.get(key)!r})")
        for key, value in recorded.items()
        if gallery.meta.get(key) != value
    ]


def checksum(values: Mapping[str, Any]) -> str:
    """sha256 of bundle.json's values without ``checksum``, in canonical form: sorted keys, no spaces."""
    rest = {key: value for key, value in values.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _checksum(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Check the checksum; only bundles without golden controls, made by an older version, may lack one."""
    if manifest.checksum is None and "golden/controls.f32" not in manifest.files:
        return
    if manifest.checksum != checksum(read_json(file_inside(folder, MANIFEST))):
        yield f"{MANIFEST}: changed since the bundle was made (its checksum differs)"


def _unlisted(folder: Path, manifest: Manifest) -> Iterator[str]:
    artifacts = tuple(f"{artifact.path}/" for artifact in manifest.artifacts)
    known = {*manifest.files, *(artifact.path for artifact in manifest.artifacts), *UNLISTED}
    for name in sorted(file.relative_to(folder).as_posix() for file in plain_files(folder)):
        if name not in known and not name.startswith((*artifacts, f"{STATE}/")):
            yield f"{name}: not listed in {MANIFEST}; no run made it, remove it"


def recipe_values(folder: Path) -> Mapping[str, Any] | None:
    """recipe.yaml as plain values; None if it cannot be read or is not what a run writes."""
    try:
        found = parse_yaml(read_text(file_inside(folder, "recipe.yaml"), _MOST_BYTES))
    except (BadInput, ValueError):
        return None
    return found if _is_resolved_recipe(found) else None


def _is_resolved_recipe(found: Any) -> bool:
    """Whether the sections that are compared with the manifest have the shape that a run writes."""
    sections = ("data", "model", "validate")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in sections):
        return False
    exports = found.get("export")
    if not isinstance(exports, list) or not all(isinstance(each, dict) for each in exports):
        return False
    options = [value or {} for each in exports for value in each.values()]
    return all(isinstance(each, dict) for each in (*options, found["validate"].get("gates") or {}))


def _against_recipe(folder: Path, manifest: Manifest, recipe: Mapping[str, Any]) -> Iterator[str]:
    data, model = (recipe.get(key) or {} for key in ("data", "model"))
    side = data.get("image_size")
    size = [side, side] if isinstance(side, int) else side
    beside = ("architecture", "checkpoint", "distance")
    preprocess = manifest.preprocess.to_json()
    pairs = {
        "recipe_sha256": (manifest.recipe_sha256, hashlib.sha256((folder / "recipe.yaml").read_bytes()).hexdigest()),
        "name": (manifest.name, recipe.get("name")),
        "license": (manifest.license, recipe.get("license")),
        "data.dataset": (manifest.data.dataset, data.get("dataset")),
        "architecture.name": (manifest.architecture.name, model.get("architecture")),
        "architecture.options": (
            manifest.architecture.options,
            {key: value for key, value in model.items() if key not in beside},
        ),
        "architecture.input": (list(manifest.architecture.input), size),
        "embedding.distance": (manifest.embedding.distance, model.get("distance")),
        "preprocess.resize": (preprocess["resize"], size),
        **{f"preprocess.{key}": (preprocess[key], data.get(key)) for key in ("crop", "mean", "std")},
        "artifacts": (
            [[artifact.format.replace("-", "_"), artifact.precision] for artifact in manifest.artifacts],
            [[written, (options or {}).get("precision")] for written, options in _exports(manifest, recipe)],
        ),
    }
    for key, (recorded, found) in pairs.items():
        if recorded != found:
            yield _line(key, recorded, f"recipe.yaml ({found!r})")


def _exports(manifest: Manifest, recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The recipe's exports: the format that each writes, and its options; one of another package writes any format."""
    entries = [(name, options) for each in recipe["export"] for name, options in each.items()]
    recorded = [artifact.format.replace("-", "_") for artifact in manifest.artifacts]
    for number, (name, options) in enumerate(entries):
        foreign = name not in plugins.names(Exporter) and number < len(recorded)
        yield (recorded[number] if foreign else name), options


def _against_metrics(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Compare with metrics.jsonl, which repeats what apps rely on of every artifact on its best runtime."""
    try:
        text = read_text(file_inside(folder, "metrics.jsonl"), _MOST_BYTES)
        lines = [parse_json(line) for line in text.splitlines()]
    except (BadInput, ValueError):
        return
    checked = {line.get("path"): line for line in lines if isinstance(line, dict) and line.get("stage") == "validate"}
    for artifact in manifest.artifacts:
        recorded = artifact.to_json()
        for section in ("parity", "retrieval", "thresholds"):
            if recorded.get(section) != checked.get(artifact.path, {}).get(section):
                yield _line(f"{artifact.path}: {section}", "", "metrics.jsonl")


def _against_file(folder: Path, artifact: ArtifactEntry, manifest: Manifest) -> Iterator[str]:
    path = folder / artifact.path
    if not path.exists():
        return
    if artifact_bytes(path) != artifact.bytes:
        yield _line(f"{artifact.path}: bytes", artifact.bytes, f"the file ({artifact_bytes(path)})")
    if artifact.format not in FORMATS.values():
        return  # only the package that wrote it can read it
    try:
        inside = read_metadata(path, artifact.format)
    except ValueError as error:
        yield f"{artifact.path}: {error}"
        return
    preprocess, embedding = manifest.preprocess.to_json(), manifest.embedding
    expected = {
        "name": manifest.name,
        "license": manifest.license,
        "architecture": manifest.architecture.name,
        **{key: preprocess[key] for key in ("color", "resize", "interpolation", "antialias", "crop", "mean", "std")},
        "embedding_dim": embedding.dim,
        "embedding_kind": embedding.kind,
        "distance": embedding.distance,
    }
    for key, value in expected.items():
        if str(inside.get(key)) != str(value):
            yield f"{artifact.path}: says {key} {inside.get(key)!r} inside, {MANIFEST} {value!r}"


def _against_own_values(entry: Entry) -> Iterator[str]:
    """Check that every gate's value is that of its section, and that its verdict follows from value and limit."""
    if entry.evidence == "not-run" and any(gate.name == "runs" for gate in entry.gates):
        return
    values = {"file.bytes": float(entry.bytes), **located_all(entry)}
    if entry.mobile_problems is not None:
        values["file.mobile_problems"] = float(len(entry.mobile_problems))
    if entry.evidence == "emulated-arm" and entry.processor != "arm":
        yield _line(f"{entry.path} on {entry.runtime}: processor", entry.processor, "its evidence ('emulated-arm')")
    if entry.evidence not in TIMED and entry.latency_ms is not None:
        yield _line(f"{entry.path} on {entry.runtime}: latency_ms", "", f"its evidence ({entry.evidence!r})")
    known = [gate for gate in entry.gates if gate.name not in ("params", "macs")]
    yield from _judged_again(f"{entry.path} on {entry.runtime}", known, values)


def _judged_again(what: str, gates: Sequence[Gate], values: Mapping[str, float | None]) -> Iterator[str]:
    recorded = [gate for gate in gates if gate.name in RULES]
    yield from (f"{MANIFEST}: {what}: unknown gate '{gate.name}'" for gate in gates if gate.name not in RULES)
    again = evaluate_gates({gate.name: gate.limit for gate in recorded}, values)
    for gate, other in zip(recorded, again, strict=True):
        if gate != other:
            yield _line(f"{what}: gate {gate.name}", gate.value, f"what was measured ({other.value})")


def _limits(entry: Entry, manifest: Manifest, recipe: Mapping[str, Any]) -> Iterator[str]:
    """Check that the limits follow from recipe and precision, if this version of Compress made the bundle."""
    if manifest.created_by.get("compress") != compress.__version__ or manifest.checksum is None:
        return
    try:
        expected = limits_of(entry.precision, entry.format, manifest.embedding.kind, recipe)
    except BadInput as error:
        yield f"{MANIFEST}: {entry.path}: {error}"
        return
    if entry.device is not None:
        expected = {name: limit for name, limit in expected.items() if name not in NOT_FROM_GOLDEN}
    expected = limits_on(entry.processor, entry.evidence, expected, entry.precision)
    if entry.evidence == "not-run":
        expected = {name: limit for name, limit in expected.items() if name in STATIC}
    recorded = {gate.name: gate.limit for gate in entry.gates if gate.name != "runs"}
    for name in dict.fromkeys((*expected, *recorded)):
        if recorded.get(name) != expected.get(name):
            other = f"recipe.yaml and the precision ({expected.get(name)})"
            yield _line(f"{entry.path} on {entry.runtime}: limit {name}", recorded.get(name), other)


def limits_of(precision: str, file_format: str, kind: EmbeddingKind, recipe: Mapping[str, Any]) -> dict[str, float]:
    """The limits for an artifact: the defaults of its precision, replaced and extended by the recipe's gates.

    Args:
        recipe: recipe.yaml as plain values.

    Raises:
        BadInput: a precision that has no limits.
    """
    own = (recipe.get("validate") or {}).get("gates") or {}
    limits = {**default_limits(precision, file_format, kind), **own}
    return {name: limit for name, limit in limits.items() if name not in OF_NO_ARTIFACT}


def _line(key: str, value: object, other: str) -> str:
    said = f" {value!r}" if value != "" else ""
    return f"{MANIFEST}: {key}{said} contradicts {other}"
