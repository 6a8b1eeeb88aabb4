"""Write the bundle: the folder an app team receives, with bundle.json as its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.bundle.device_rows import with_earlier_rows
from compress.bundle.gallery_index import index_path
from compress.bundle.manifest import (
    SCHEMA,
    ArchitectureEntry,
    ArtifactEntry,
    Control,
    DataEntry,
    EmbeddingEntry,
    ExhaustiveGallery,
    IndexedGallery,
    Manifest,
    PreprocessEntry,
    file_hashes,
)
from compress.bundle.rankings import RANKINGS
from compress.bundle.worst_images import FOLDER as WORST
from compress.bundle.write_manifest import write_manifest
from compress.contracts import Data, Model
from compress.data.load import describe
from compress.gallery.store import GALLERY
from compress.model.identity import space_id
from compress.recipe.reader import Recipe
from compress.system import environment
from compress.system.files import remove, write_text
from validators.results import SourceScores, Upgrade

_HASHED = ("recipe.yaml", "metrics.jsonl", "checkpoints", "golden", GALLERY.parent.name, RANKINGS, WORST)
_OWN = ("artifacts", "checkpoints", GALLERY.parent.name, WORST)
"""Folders that hold only files that the run wrote."""
_REPEATED = ("path", "parity", "retrieval", "thresholds")
"""Keys of an artifact that metrics.jsonl holds, too, so that ``verify`` sees a change of either."""


@dataclass(frozen=True)
class Findings:
    """The results of a run's checks, under the keys of bundle.json."""

    source: SourceScores
    artifacts: tuple[ArtifactEntry, ...]
    gallery: ExhaustiveGallery | IndexedGallery
    controls: tuple[Control, ...]
    compatibility: Mapping[str, Mapping[str, float | None]]
    upgrade: Upgrade | None = None


def write_bundle(folder: Path, recipe: Recipe, data: Data, model: Model, findings: Findings) -> Manifest:
    """Add the remaining files to ``folder``, which holds checkpoints, artifacts and golden pack; the manifest is last.

    What devices measured of files that are the same as before is kept.

    Returns:
        The manifest as it was written.
    """
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in _metrics(model, findings)))
    _remove_strays(folder, recipe, findings)
    used = {tool for exporter in recipe.exports for tool in exporter.requires}
    manifest = Manifest(
        schema_number=SCHEMA,
        name=recipe.name,
        created_by=environment.versions({"torch", "torchvision", "lightning-fabric", "numpy", "pillow", *used}),
        recipe_sha256=recipe.sha256,
        license=recipe.license,
        architecture=_architecture(model),
        embedding=EmbeddingEntry(**asdict(model.embedding), space_id=space_id(model)),
        preprocess=_preprocess(model),
        data=DataEntry.from_json(describe(data)),
        source=findings.source,
        artifacts=findings.artifacts,
        gallery=findings.gallery,
        controls=findings.controls,
        compatibility={indexed: dict(asking) for indexed, asking in findings.compatibility.items()},
        upgrade=findings.upgrade,
        files=file_hashes(folder, _HASHED),
    )
    return write_manifest(folder, with_earlier_rows(folder, manifest))


def _metrics(model: Model, findings: Findings) -> Iterator[Mapping[str, Any]]:
    """The lines that the stages logged, then one per artifact; without times, so that two runs give the same bytes."""
    yield from model.history
    for artifact in findings.artifacts:
        values = artifact.to_json()
        yield {"stage": "validate", **{key: values[key] for key in _REPEATED if key in values}}


def _architecture(model: Model) -> ArchitectureEntry:
    from architectures import complexity

    return ArchitectureEntry(
        name=model.architecture.component_name(),
        options=model.architecture.options(),
        **asdict(complexity(model.network, model.preprocess.size)),
        input=model.preprocess.size,
        pruned=_pruned(model),
    )


def _pruned(model: Model) -> dict[str, tuple[int, int]]:
    """Output channels as built and after pruning, for each convolution that lost any: name -> (before, after)."""
    if not model.pruned:
        return {}
    built: Any = dict(model.architecture.bare().build(len(model.classes)).named_modules())
    kept = {name: values["out_channels"] for name, values in model.pruned.items() if "out_channels" in values}
    return {name: (built[name].out_channels, count) for name, count in kept.items()}


def _preprocess(model: Model) -> PreprocessEntry:
    values = asdict(model.preprocess)
    return PreprocessEntry(resize=values.pop("size"), **values, folded=True)


def _remove_strays(folder: Path, recipe: Recipe, findings: Findings) -> None:
    """Delete files that an earlier version of the recipe left in the bundle's folders."""
    kept = {folder / artifact.path for artifact in findings.artifacts}
    kept |= {folder / "checkpoints" / f"{step}.safetensors" for step, _ in recipe.stages or (("initial", None),)}
    kept.add(folder / GALLERY)
    if recipe.gallery.index is not None:
        kept.add(folder / index_path(recipe.gallery.index))
    for entry in (entry for artifact in findings.artifacts for entry in artifact.entries()):
        if entry.parity is not None and entry.parity.worst_image_file is not None:
            kept.add(folder / entry.parity.worst_image_file)
    for path in (path for name in _OWN for path in (folder / name).glob("*")):
        if path not in kept:
            remove(path)
