"""Resize maps with operations that a runtime computes as PyTorch does, where its own resizing differs.

TFLite's nearest neighbour rounds other positions than PyTorch's unless the size is a multiple; neither it nor Core ML
filters before it makes a map smaller (``antialias``). Every resize is linear and separable, so its weights are found by
resizing unit vectors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import add_layer, called, is_plain, replace, shape

_NAMES = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
_NEAREST = ("nearest", "nearest-exact")


class ByIndex(nn.Module):
    """forward(x [N, C, H, W]) -> the rows and columns with these numbers, [N, C, H', W']."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(2, self.rows).index_select(3, self.columns)


class ByMatrices(nn.Module):
    """forward(x [N, C, H, W]) -> ``rows`` [H', H] times x times the transpose of ``columns`` [W', W]."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.T.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(self.rows, torch.matmul(x, self.columns))


class ExactResize:
    """Applies to ``F.interpolate`` and ``nn.Upsample`` in modes that the runtime computes otherwise."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            options = _options(network, node)
            if options is None or not self._differs(node, options):
                continue
            apply = functools.partial(_write_otherwise, network, node, options)
            found.append(Place(f"resize:{node.name}", (Form("exact", 0.0, 0, apply),)))
        return found

    def _differs(self, node: fx.Node, options: Mapping[str, Any]) -> bool:
        if self.costs.resizes is None or len(shape(node)) != 4:
            return False
        mode = options["mode"]
        if mode == "nearest" and "nearest" not in self.costs.resizes:
            before, after = shape(node.all_input_nodes[0])[2:], shape(node)[2:]
            return any(new % old for old, new in zip(before, after, strict=True))
        return mode not in self.costs.resizes or bool(options["antialias"])


def _options(network: fx.GraphModule, node: fx.Node) -> dict[str, Any] | None:
    """The arguments of ``F.interpolate`` that a node passes, its input apart; None if it resizes nothing."""
    layer = called(network, node)
    if is_plain(layer, nn.Upsample):
        own = {name: getattr(layer, name) for name in _NAMES[1:-1]}
        return {**own, "antialias": False}
    if node.op != "call_function" or node.target is not F.interpolate:
        return None
    given = dict(zip(_NAMES, node.args, strict=False)) | node.kwargs
    return {"mode": "nearest", "antialias": False, **{name: v for name, v in given.items() if name != "input"}}


def _write_otherwise(network: fx.GraphModule, node: fx.Node, options: Mapping[str, Any]) -> None:
    source = node.all_input_nodes[0]
    (height, width), size = shape(source)[2:], shape(node)[2:]
    resize = _resizing(options, size)
    # What becomes of unit vectors: [height, height', 1] and [width, 1, width'].
    rows = resize(torch.eye(height).reshape(height, 1, height, 1).expand(-1, -1, -1, width))[:, 0, :, 0].T
    columns = resize(torch.eye(width).reshape(width, 1, 1, width).expand(-1, -1, height, -1))[:, 0, 0].T
    layer: nn.Module
    if options["mode"] in _NEAREST:
        layer = ByIndex(rows.argmax(1), columns.argmax(1))
    else:
        layer = ByMatrices(rows.contiguous(), columns.contiguous())
    replace(network, node, lambda: add_layer(network, "resized", layer, source))


def _resizing(options: Mapping[str, Any], size: tuple[int, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same resize with sizes that are known; a scale is kept, as positions are computed from it."""
    known = {name: value for name, value in options.items() if name not in ("size", "scale_factor")}
    scale = options.get("scale_factor")
    kept = isinstance(scale, float | int) or (
        isinstance(scale, tuple | list) and all(isinstance(each, float | int) for each in scale)
    )
    given = {"scale_factor": scale} if kept and options.get("size") is None else {"size": size}
    if "size" in given:
        known.pop("recompute_scale_factor", None)
    return functools.partial(F.interpolate, **given, **known)
