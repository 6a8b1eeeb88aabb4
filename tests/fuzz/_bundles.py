"""A bundle that every example changes, and all that Compress does with one it was given."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from compress.bundle.consistency import checksum
from compress.bundle.golden import read_golden
from compress.bundle.manifest import MANIFEST
from compress.commands.compare import compare
from compress.commands.verify import verify
from compress.contracts import ImageArray, Runtime
from compress.gallery.store import GALLERY, read_thumbnail
from compress.recipe.overrides import parse_yaml, yaml_reader
from compress.report import write_report
from compress.system.files import artifact_sha256, remove
from tests.fuzz._guard import guarded
from validators.isolation import Execution


def small(bundle: Path, folder: Path) -> Path:
    """A copy of ``bundle`` in ``folder`` with one artifact on one runtime: judging ten takes seconds."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for artifact in manifest["artifacts"][1:]:
        remove(folder / artifact["path"])
    manifest["artifacts"] = [{**manifest["artifacts"][0], "other_runtimes": []}]
    left = ("pytorch", manifest["artifacts"][0]["path"])
    matrix = manifest["compatibility"]
    manifest["compatibility"] = {indexed: {asking: matrix[indexed][asking] for asking in left} for indexed in left}
    recipe = parse_yaml((folder / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["export"] = recipe["export"][:1]
    with (folder / "recipe.yaml").open("w", encoding="utf-8") as file:
        yaml_reader().dump(recipe, file)
    manifest["recipe_sha256"] = manifest["files"]["recipe.yaml"] = artifact_sha256(folder / "recipe.yaml")
    manifest["checksum"] = checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@contextmanager
def copied(bundle: Path, folder: Path) -> Iterator[Path]:
    """A copy in ``folder``, made of hard links, so that a file must be replaced and never written into."""
    shutil.copytree(bundle, folder, copy_function=os.link)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file."""
    path.unlink()
    path.write_bytes(content)


def use(folder: Path, original: Path, outside: Path) -> bool:
    """Do everything that takes a bundle; whether ``verify`` was satisfied with it."""
    green = []
    with guarded(outside), _executed(original):
        green.append(not verify(folder).problems)
    with guarded(outside):
        compare(original, folder)
    with guarded(outside):
        read_thumbnail(folder / GALLERY, 0)
    with guarded(outside):
        write_report(folder)
    return green == [True]


@contextmanager
def _executed(original: Path) -> Iterator[None]:
    """Every artifact gives what it gave when the bundle was made; starting ten children an example takes minutes."""
    right = read_golden(original / "golden").embeddings

    def execute(runtime: Runtime, path: Path, images: Mapping[str, ImageArray], **options: Any) -> Execution:
        return Execution({name: np.resize(right, (len(array), right.shape[1])) for name, array in images.items()}, "1")

    with patch("validators.measure.execute", execute):
        yield
