"""Checkpoints of strangers: one line says what is wrong, and nothing large is allocated."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import create_model
from compress.contracts import BadInput, EmbeddingSpec, Model, Preprocess
from compress.contracts.models import Architecture
from compress.model.checkpoint import load_model, save_model
from compress.options import build_named

OPTIONS = {"widths": [16, 24], "strides": [2, 2], "expansions": [1, 2], "head_width": 32}


def write_checkpoint(path: Path) -> None:
    """A small network's."""
    torch.manual_seed(0)
    architecture = build_named(Architecture, {"alnet": OPTIONS}, "model")
    network = create_model("alnet", 2, **OPTIONS)
    save_model(Model(architecture, network, ("a", "b"), Preprocess((32, 32)), EmbeddingSpec(32)), path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "x")
    return tmp_path / "x"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the header, a JSON object, as safetensors keeps it: 8 bytes of length, JSON, tensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    edit(header)
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + content[8 + length :])


def describe(**values: Any) -> Callable[[dict[str, Any]], object]:
    """Replace values of Compress's own header."""

    def edit(header: dict[str, Any]) -> None:
        own = {**json.loads(header["__metadata__"]["compress"]), **values}
        header["__metadata__"]["compress"] = json.dumps(own)

    return edit


def raw(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["__metadata__"].update(compress=text)


HOSTILE = {
    "no header": raw(""),
    "deep": raw("[" * 100_000),
    "a number": raw("1"),
    "10**5000": raw('{"architecture": 1' + "0" * 5000 + "}"),
    "no options": raw('{"architecture": "alnet"}'),
    "another architecture": describe(architecture="resnet"),
    "a path as architecture": describe(architecture="../../secret"),
    "a list as architecture": describe(architecture=["alnet"]),
    "huge widths": describe(options={**OPTIONS, "widths": [10**9, 10**9]}),
    "huge head": describe(options={**OPTIONS, "head_width": 10**12}),
    "text as options": describe(options="x"),
    "numbers as classes": describe(classes=[1, 2]),
    "no classes": describe(classes=[]),
    "huge images": describe(preprocess={"size": [10**6, 10**6]}),
    "unknown preprocess": describe(preprocess={"size": [32, 32], "color": "BGR"}),
    "a space without dim": describe(embedding={}),
    "pruned to more": describe(pruned={"classifier": {"in_features": 10**9}}),
    "pruned to text": describe(pruned={"classifier": {"in_features": "32"}}),
    "pruned to nothing": describe(pruned={"classifier": {"in_features": 0}}),
    "pruned elsewhere": describe(pruned={"nowhere": {"in_features": 1}}),
    "pruned attribute": describe(pruned={"classifier": {"__class__": 1}}),
    "history of text": describe(history="x"),
    "a shape of 10**12": lambda header: header["classifier.weight"].update(shape=[10**6, 10**6]),
    "offsets outside": lambda header: header["classifier.weight"].update(data_offsets=[0, 10**12]),
    "a tensor less": lambda header: header.pop("classifier.weight"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_one_line(checkpoint: Path, what: str) -> None:
    change(checkpoint, HOSTILE[what])
    with pytest.raises(BadInput) as caught:
        load_model(checkpoint)
    assert len(str(caught.value).splitlines()) == 1


def test_a_header_longer_than_the_file(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    for length in (2**62, 10**8, len(content), 0):
        checkpoint.write_bytes(struct.pack("<Q", length) + content[8:])
        with pytest.raises(BadInput, match="not a readable safetensors file"):
            load_model(checkpoint)


def test_it_is_read_as_it_was_written_also_where_a_loss_was_nan(checkpoint: Path) -> None:
    change(checkpoint, describe(history=[{"loss": float("nan")}]))
    model = load_model(checkpoint)
    assert (model.classes, model.preprocess.size, len(model.history)) == (("a", "b"), (32, 32), 1)
