"""Write the bundle: the folder an app team receives, with bundle.json as its manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.bundle.gallery_index import index_path
from compress.bundle.manifest import MANIFEST, SCHEMA, file_hashes, json_values, read_manifest
from compress.bundle.rankings import RANKINGS
from compress.bundle.worst_images import FOLDER as WORST
from compress.contracts import Data, Model, Preprocess
from compress.data.load import describe
from compress.gallery.store import GALLERY
from compress.model.identity import space_id
from compress.recipe.reader import Recipe
from compress.system import environment
from compress.system.files import write_json, write_text

_HASHED = ("recipe.yaml", "metrics.jsonl", "checkpoints", "golden", GALLERY.parent.name, RANKINGS, WORST)
_OWN = ("artifacts", "checkpoints", GALLERY.parent.name, WORST)
"""Folders that hold what the run put there and nothing else."""


def write_bundle(folder: Path, recipe: Recipe, data: Data, model: Model, findings: Mapping[str, Any]) -> dict[str, Any]:
    """Complete ``folder`` around its checkpoints, artifacts and golden pack; the manifest comes last.

    Args:
        findings: the manifest's ``source``, ``artifacts``, ``gallery``, ``controls`` and ``compatibility``.

    Returns:
        The manifest as it was written.
    """
    entries = findings["artifacts"]
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in _metrics(model, entries)))
    _remove_strays(folder, recipe, entries)
    used = {tool for exporter in recipe.exports for tool in exporter.requires}
    manifest = {
        "schema": SCHEMA,
        "name": recipe.name,
        "created_by": environment.versions({"torch", "torchvision", "lightning-fabric", "numpy", "pillow", *used}),
        "recipe_sha256": recipe.sha256,
        "license": recipe.license,
        "architecture": _architecture(model),
        "embedding": {**asdict(model.embedding), "space_id": space_id(model)},
        "preprocess": {**_preprocess(model.preprocess), "folded": True},
        "data": describe(data),
        **findings,
        "files": file_hashes(folder, _HASHED),
    }
    write_json(folder / MANIFEST, json_values(manifest))
    return read_manifest(folder)


def _metrics(model: Model, entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What the stages logged, then one line per artifact; no clocks, so that two runs give the same bytes."""
    checked = [
        {"stage": "validate", **{key: entry[key] for key in ("path", "parity", "retrieval")}} for entry in entries
    ]
    return [json_values(line) for line in (*model.history, *checked)]


def _architecture(model: Model) -> dict[str, Any]:
    from architectures import complexity

    sizes = complexity(model.network, model.preprocess.size)
    return {
        "name": model.architecture.component_name(),
        "options": model.architecture.options(),
        **asdict(sizes),
        "input": list(model.preprocess.size),
        "pruned": _pruned(model),
    }


def _pruned(model: Model) -> dict[str, list[int]]:
    """Convolution -> its output channels as built and as pruning left them, of those that lost any."""
    if not model.pruned:
        return {}
    built: Any = dict(model.architecture.bare().build(len(model.classes)).named_modules())
    kept = {name: values["out_channels"] for name, values in model.pruned.items() if "out_channels" in values}
    return {name: [built[name].out_channels, count] for name, count in kept.items()}


def _preprocess(preprocess: Preprocess) -> dict[str, Any]:
    values = asdict(preprocess)
    return {"color": values.pop("color"), "resize": list(values.pop("size")), **values}


def _remove_strays(folder: Path, recipe: Recipe, entries: Sequence[Mapping[str, Any]]) -> None:
    """Delete what an earlier version of the recipe left in the folders of the bundle."""
    kept = {folder / entry["path"] for entry in entries}
    kept |= {folder / "checkpoints" / f"{step}.safetensors" for step, _ in recipe.stages or (("initial", None),)}
    kept.add(folder / GALLERY)
    if recipe.gallery.index is not None:
        kept.add(folder / index_path(recipe.gallery.index))
    for artifact in entries:
        for checked in (artifact, *artifact["other_runtimes"]):
            if (checked["parity"] or {}).get("worst_image_file"):
                kept.add(folder / checked["parity"]["worst_image_file"])
    for path in (path for name in _OWN for path in (folder / name).glob("*")):
        if path not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
