"""What is searched if a recipe has no section ``tune``: sensible changes of its own values."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from compress.contracts import Architecture
from compress.recipe.reader import Recipe
from compress.recipe.tuning import Choices, Parameter, Range, named

_WIDTHS = (0.75, 0.5)
_OTHER_NETWORKS = (
    {"architecture": "alnet", "stem_stride": 2},
    {"architecture": "mobilenet_v2"},
    {"architecture": "mobilenet_v3"},
    {"architecture": "shufflenet_v2"},
)
"""Tried instead of a network with fresh weights."""


def default_space(recipe: Recipe, document: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Sizes, networks, pruning, precision and the strongest training options, around the recipe's own values.

    Args:
        document: the recipe's plain values.
    """
    found: list[Parameter | None] = [_sizes(recipe), _networks(recipe, document), *_training(recipe)]
    if not document.get("compress"):
        found.append(_pruning(document))
    return tuple(each for each in (*found, _precisions(recipe)) if each is not None)


def _choices(key: str, values: list[Any]) -> Choices | None:
    """Different values only; None if there is nothing to choose."""
    different = list({named(value): value for value in values}.values())
    return Choices(key, tuple(different)) if len(different) > 1 else None


def _sizes(recipe: Recipe) -> Choices | None:
    size = recipe.data.image_size
    if not isinstance(size, int):
        return None
    step = 32 if size >= 96 else 4
    nearby = [max(step, round(size * factor / step) * step) for factor in (0.6, 0.8, 1.0, 1.2)]
    return _choices("data.image_size", sorted({size, *nearby}))


def _networks(recipe: Recipe, document: Mapping[str, Any]) -> Choices | None:
    """Narrower versions of the network; others, too, if its weights are fresh and no option names its layers."""
    own = dict(document["model"])
    found = [own, *({**own, **narrower} for narrower in _narrower(recipe.architecture))]
    free = recipe.checkpoint is None and not recipe.architecture.has_weights()
    train = document.get("train") or {}
    named_parts = train.get("freeze") or isinstance(train.get("lr"), Mapping) or document.get("compress")
    if free and not named_parts:
        kept = {key: own[key] for key in ("distance",) if key in own}
        found += [{**other, **kept} for other in _OTHER_NETWORKS if other["architecture"] != own["architecture"]]
    return _choices("model", found)


def _narrower(architecture: Architecture) -> list[dict[str, Any]]:
    """Options with fewer channels, or values of the embedding, for networks that have such options."""
    options = {field.name: getattr(architecture, field.name) for field in dataclasses.fields(architecture)}
    if isinstance(width := options.get("width"), float):
        return [{"width": width * factor} for factor in _WIDTHS]
    if isinstance(widths := options.get("widths"), tuple):
        multiple = options.get("groups") or 8

        def scaled(channels: int, factor: float) -> int:
            return max(multiple, round(channels * factor / multiple) * multiple)

        found = []
        for factor in _WIDTHS:
            changed: dict[str, Any] = {"widths": [scaled(each, factor) for each in widths]}
            if isinstance(head := options.get("head_width"), int):
                changed["head_width"] = scaled(head, factor)
            found.append(changed)
        return found
    if isinstance(dim := options.get("dim"), int) and dim >= 64:
        return [{"dim": dim // 2}]
    return []


def _training(recipe: Recipe) -> list[Parameter | None]:
    train: Mapping[str, Any] | None = recipe.resolved["train"]
    if train is None:
        return []
    rate = train["lr"]
    return [
        None if isinstance(rate, Mapping) else Range("train.lr", rate / 3.0, rate * 3.0, log=True),
        _choices("train.min_scale", sorted({train["min_scale"], 0.35, 0.6, 1.0})),
        _choices("train.color_jitter", sorted({train["color_jitter"], 0.0, 0.2})),
    ]


def _pruning(document: Mapping[str, Any]) -> Choices | None:
    """No pruning, or a share of the channels and a quarter of the training again."""
    train = document.get("train")
    if not train:
        return None
    epochs = max(1, train.get("epochs", 200) // 4)
    fine = {key: copy.deepcopy(value) for key, value in train.items() if key not in ("freeze", "warmup_epochs")}
    pruned = [[{"prune": {"ratio": ratio, "finetune": {**fine, "epochs": epochs}}}] for ratio in (0.15, 0.3, 0.5)]
    return _choices("compress", [[], *pruned])


def _precisions(recipe: Recipe) -> Choices | None:
    """Every precision in which the format stores weights, of the first file; w8a8 is slow to calibrate and left out."""
    exporter = recipe.exports[0]
    hints = typing.get_type_hints(type(exporter))["precision"]
    names = [name for name in typing.get_args(hints) if name not in exporter.calibrated]
    return _choices(f"export.0.{exporter.component_name()}.precision", [exporter.precision, *names])
