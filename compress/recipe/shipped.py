"""Files that come with the package: recipes, which a user names without a path, and the samples for apps.

A wheel holds them in ``compress/shipped``; a checkout, also one installed with ``pip install -e``, at its top level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compress.contracts import BadInput
from compress.plugins import did_you_mean
from compress.recipe.reader import RECIPE_BYTES
from compress.system.bounded_reading import read_text

_HOME = Path(__file__).parent.parent
_FIELDS = ("hardware", "time", "expected", "command")
_FIELD = re.compile(rf"(?:^|\s·\s)({'|'.join(_FIELDS)}):\s+")
_SCORE = re.compile(r"\bmAP(?:@\d+)?(?:/\w+)? 0\.\d+")
_TIME_ENDS = re.compile(r",? for (?!the rest)|[(;]")


@dataclass(frozen=True)
class Header:
    """The comment that opens a recipe, without line ends.

    Attributes:
        purpose: what the recipe makes.
        hardware, time: what it needs, and for how long.
        expected: the scores that were measured, and with which changes of the recipe.
        command: how to run it.
    """

    purpose: str
    hardware: str
    time: str
    expected: str
    command: str

    @property
    def title(self) -> str:
        """The purpose without its details."""
        return re.split(r"[.:;](?:\s|$)| \(", self.purpose)[0]

    @property
    def duration(self) -> str:
        """The time without its conditions."""
        return _TIME_ENDS.split(self.time)[0].strip()

    @property
    def score(self) -> str | None:
        """The first mAP that was measured; None if there is none."""
        found = _SCORE.search(self.expected)
        return None if found is None or self.expected.startswith("not measured") else found[0]

    @property
    def conditional(self) -> bool:
        """Whether time and score were measured with changes of the recipe, such as fewer epochs."""
        said = re.sub(r"\([^)]*\)", "", f"{self.time} {self.expected}")
        return "--set" in said or "settings below" in said


def shipped(kind: Literal["recipes", "examples"]) -> Path:
    """The folder of the package's recipes or samples."""
    packaged = _HOME / "shipped" / kind
    return packaged if packaged.is_dir() else _HOME.parent / kind


def recipe_names() -> list[str]:
    """The names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in shipped("recipes").glob("*.yaml"))


def recipe_path(recipe: Path) -> Path:
    """The file of a recipe: ``recipe`` itself, or the package's recipe of that name if it is a bare name.

    Raises:
        BadInput: ``recipe`` is a bare name, neither a file here nor one of the package's recipes.
    """
    bare = recipe.name == str(recipe) and not recipe.suffix
    known = recipe_names()
    if recipe.is_file():
        return recipe
    if bare and recipe.name in known:
        return shipped("recipes") / f"{recipe.name}.yaml"
    if bare:
        raise BadInput(
            f"{recipe}: neither a file here nor a recipe that comes with the package"
            f"{did_you_mean(recipe.name, known)} ('compress recipes' lists them)"
        )
    if recipe.suffix == ".yaml" and recipe.stem in known:
        raise BadInput(f"{recipe}: no such file; the package's recipe is named without path: {recipe.stem}")
    return recipe


def read_header(path: Path) -> Header:
    """The comment that opens a recipe file.

    Raises:
        BadInput: a part is missing; the message says which.
    """
    purpose: list[str] = []
    fields: dict[str, list[str]] = {}
    current = purpose
    for line in read_text(path, RECIPE_BYTES).splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        before, *parts = _FIELD.split(text)
        # Below the command, only its continuations belong to it: they are indented.
        if not parts and "command" in fields and not line.startswith("#   "):
            break
        current.extend([before] if before else [])
        for field, value in zip(parts[::2], parts[1::2], strict=True):
            current = fields[field] = [value]
    if missing := [name for name in ("purpose", *_FIELDS) if not (purpose if name == "purpose" else fields.get(name))]:
        raise BadInput(f"{path}: the comment at its top does not say '{missing[0]}:'")
    return Header(" ".join(purpose), **{name: " ".join(fields[name]) for name in _FIELDS})
