"""``compress recipes``: list the recipes that come with the package, print one, or copy all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from compress.contracts import BadInput
from compress.recipe.reader import RECIPE_BYTES
from compress.recipe.shipped import read_header, recipe_names, recipe_path, shipped
from compress.system.bounded_reading import read_text
from compress.system.files import write_text

_TITLES = ("recipe", "score", "time", "hardware", "purpose")


def lines() -> list[str]:
    """A line for each recipe: name, measured score, time, hardware and purpose."""
    rows, conditional = [_TITLES], False
    for name in recipe_names():
        header = read_header(shipped("recipes") / f"{name}.yaml")
        mark = " *" if header.conditional and header.score else ""
        conditional = conditional or bool(mark)
        score = f"{header.score}{mark}" if header.score else "not measured"
        rows.append((name, score, header.duration, header.hardware, header.title))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    listed = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = ["* time and score with fewer epochs or other changes: 'compress recipes NAME' prints them"]
    return [*listed, *(notes if conditional else []), "start one with: compress run NAME"]


def text(name: str) -> str:
    """The file of a recipe that comes with the package.

    Raises:
        BadInput: there is no such recipe.
    """
    return read_text(recipe_path(Path(name)), RECIPE_BYTES)


def copy(folder: Path) -> list[str]:
    """Copy the recipes, the samples for apps and the recipe's JSON schema into a new folder; a line for each.

    Raises:
        BadInput: the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"--copy {folder}: exists and is not an empty folder; name a new one")
    said = []
    for kind, what in (("recipes", "recipes"), ("examples", "samples for apps")):
        target = folder / kind
        shutil.copytree(shipped(kind), target, ignore=shutil.ignore_patterns("__pycache__"))  # type: ignore[arg-type]
        said.append(f"{target}: {sum(path.is_file() for path in target.rglob('*'))} {what}")
    return [*said, _schema(folder / "recipe.schema.json")]


def _schema(path: Path) -> str:
    from compress.recipe.schema import schema_here

    write_text(path, json.dumps(schema_here(), indent=2) + "\n")
    return f"{path}: the recipe's JSON schema, for editors"
