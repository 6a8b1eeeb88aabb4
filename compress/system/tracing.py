"""Trace networks with torch.fx, and keep modules whole that it cannot look into."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from compress.contracts import BadInput

IsLayer = Callable[[nn.Module], bool]
_MOST_WHOLE = 200


def trace(
    network: nn.Module, method: str = "forward", *, is_layer: IsLayer | None = None
) -> tuple[nn.Module, fx.Graph]:
    """Record the operations of ``method``; returns the root to which the graph belongs, and the graph.

    A module whose code torch.fx cannot record, because its control flow depends on sizes for instance, becomes one node
    that calls it. Whoever exports such a network must make sure that its control flow does not depend on values: see
    ``has_whole_modules`` and ``require_no_choices``.

    Args:
        is_layer: further modules that are to be one node.

    Raises:
        Exception: of any kind, from the network's code: ``method`` itself cannot be recorded.
    """
    whole: set[int] = set()
    while True:
        tracer = _Tracer(whole, is_layer)
        tracer.traced_func_name = method
        try:
            graph = tracer.trace(network)
        except Exception:
            if tracer.failed is None or len(whole) == _MOST_WHOLE:
                raise
            whole.add(id(tracer.failed))
        else:
            return tracer.root, graph


def has_whole_modules(network: fx.GraphModule) -> bool:
    """Whether a graph calls modules that are no layers of PyTorch, so that nothing has recorded what they do."""
    calls = (node for node in network.graph.nodes if node.op == "call_module")
    return any(not _is_torch(network.get_submodule(str(node.target))) for node in calls)


def require_no_choices(module: nn.Module, example: torch.Tensor) -> None:
    """Raises an Exception, of any kind, if the control flow of a module in eval mode depends on the image's values."""
    torch.export.export(module, (example,))


def copied(network: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        BadInput: PyTorch cannot copy the network, because hooks compute its weights.
    """
    try:
        return copy.deepcopy(network)
    except RuntimeError as error:
        raise BadInput(
            f"{type(network).__name__}: cannot be copied ({str(error).partition('.')[0]}); if it uses "
            "torch.nn.utils.weight_norm, use torch.nn.utils.parametrizations.weight_norm"
        ) from error


class _Tracer(fx.Tracer):
    """Attributes:
    failed: the innermost module whose code could not be recorded.
    """

    def __init__(self, whole: set[int], is_layer: IsLayer | None) -> None:
        super().__init__()
        self.whole, self.is_layer = whole, is_layer
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if id(m) in self.whole or (self.is_layer is not None and self.is_layer(m)):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:
                self.failed = m
            raise


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "torch"
