"""Optimizers of ``torch.optim`` by name, with a learning rate for each part of the network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from compress.contracts import BadInput
from compress.plugins import did_you_mean

DEFAULT_RATE, DEFAULT_MOMENTUM = 0.1, 0.9
REST = "rest"
"""The key of ``lr`` for all parameters that no named part holds."""
_REASONS = {
    "LBFGS": "it computes the loss several times in a step",
    "SparseAdam": "it needs sparse gradients",
    "Muon": "it takes matrices alone, and convolutions are none",
}
_SHARED = ("lr", "momentum", "weight_decay", "params", "self", "differentiable", "capturable", "maximize")
"""Parameters that other options give, or that a training here does not use."""

Rates = float | Mapping[str, float]


def check_optimizer(name: str, options: Mapping[str, Any] | None, momentum: float) -> None:
    """Raises BadInput unless this is an optimizer that can train here, with options that it has."""
    known = [
        each
        for each, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    ]
    usable = sorted(each for each in known if each not in _REASONS)
    if name in _REASONS:
        raise BadInput(f"optimizer: {name} cannot train here: {_REASONS[name]} (there are: {', '.join(usable)})")
    if name not in usable:
        raise BadInput(
            f"optimizer: '{name}' is not one of torch.optim's ({', '.join(usable)}){did_you_mean(name, usable)}"
        )
    parameters = _parameters(name)
    if "momentum" not in parameters and momentum != DEFAULT_MOMENTUM:
        raise BadInput(f"momentum: {name} has none; remove this option, or set optimizer_options")
    own = [each for each in parameters if each not in _SHARED]
    for key in options or {}:
        if key not in own:
            raise BadInput(
                f"optimizer_options.{key}: unknown key{did_you_mean(str(key), own)} (there are: {', '.join(own)})"
            )
    if not options:  # making one loads PyTorch's compiler
        return
    try:
        _made(name, [{"params": [nn.Parameter(torch.zeros(2))]}], 0.1, momentum, 0.0, options)
    except Exception as error:  # whatever torch refuses
        raise BadInput(f"optimizer_options: {name} cannot be made with {dict(options)}: {error}") from error


def check_rates(lr: Rates, network: nn.Module) -> None:
    """Raises BadInput if a learning rate is given for a part that the network does not have."""
    if not isinstance(lr, Mapping):
        return
    parts = [name for name, _ in network.named_modules() if name]
    for name in lr:
        if name not in parts and name != REST:
            own = ", ".join(name for name, _ in network.named_children())
            near = did_you_mean(name, parts)
            raise BadInput(f"lr.{name}: the network has no part '{name}'{near} (it has {own}, and {REST})")


def make_optimizer(
    name: str,
    options: Mapping[str, Any] | None,
    graph: nn.Module,
    network: nn.Module,
    *,
    lr: Rates,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Make the optimizer of all parameters of ``graph``; each group's peak learning rate is its ``peak``.

    Args:
        network: its parts are those that ``lr`` names; of nested parts the inner one counts.
    """
    if not isinstance(lr, Mapping):
        groups = [{"params": list(graph.parameters()), "peak": lr}]
        return _made(name, groups, lr, momentum, weight_decay, options)
    parts = dict(network.named_modules())
    rest = lr.get(REST, DEFAULT_RATE)
    rate_of: dict[nn.Parameter, float] = {}
    for part in sorted((part for part in lr if part != REST), key=lambda part: part.count(".")):
        rate_of |= dict.fromkeys(parts[part].parameters(), lr[part])
    by_rate: dict[float, list[nn.Parameter]] = {rest: []}
    for parameter in graph.parameters():
        by_rate.setdefault(rate_of.get(parameter, rest), []).append(parameter)
    groups = [{"params": those, "peak": rate} for rate, those in by_rate.items() if those]
    return _made(name, groups, rest, momentum, weight_decay, options)


def _made(
    name: str,
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    weight_decay: float,
    options: Mapping[str, Any] | None,
) -> torch.optim.Optimizer:
    given = {"momentum": momentum, "weight_decay": weight_decay}
    shared = {key: value for key, value in given.items() if key in _parameters(name)}
    made: torch.optim.Optimizer = getattr(torch.optim, name)(groups, lr=lr, **shared, **(options or {}))
    return made


def _parameters(name: str) -> list[str]:
    return list(inspect.signature(getattr(torch.optim, name)).parameters)
