"""Refuse a network of a recipe or a checkpoint that is far too large, before anything is allocated."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import init
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from compress.contracts import Architecture, BadInput

MAX_PARAMETERS = 500_000_000
"""Largest number of values in all weights and buffers; ten times the largest network that a phone runs in a search."""
MAX_ACTIVATION = 500_000_000
"""Largest number of values in one layer's output for one image, 2 GB."""
MAX_LAYERS = 5000
"""Largest number of layers; ResNet-152 has 500."""


class _TooLarge(Exception):
    """The network exceeds a limit; the message says which."""


class _Unfilled(TorchFunctionMode):
    """Draws no first weights: without memory there is nothing to fill, and PyTorch would load its compiler to try."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor that ``func`` would fill as it is; call any other ``func``."""
        if func in _FILL:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_FILL = {
    *(function for name, function in vars(init).items() if name.endswith("_") and callable(function)),
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
}


def require_sane_size(architecture: Architecture, num_classes: int, input_size: tuple[int, int] | None = None) -> None:
    """Build the network without memory, on PyTorch's device ``meta``, and pass an image through it.

    Where weights and widest layer are small, the image passes through a network in memory: shapes alone would load
    PyTorch's compiler, a second and a half of every command.

    The state of PyTorch's random generator is not changed.

    Args:
        input_size: (H, W) of the images; None checks the weights alone.

    Raises:
        BadInput: the network exceeds the limits above, or cannot be built from the options.
    """
    name = architecture.component_name()
    try:
        with torch.random.fork_rng(devices=[]):
            with torch.device("meta"), _Unfilled():
                network = _built(architecture, num_classes)
            if input_size is not None:
                place = torch.device("cpu" if _is_small(network, input_size) else "meta")
                with place, _Unfilled():
                    _pass_through(architecture.bare().build(num_classes), input_size)
    except _TooLarge as error:
        raise BadInput(f"model.{name}: {error}; make its widths or data.image_size smaller") from error
    except NotImplementedError:  # an operation without a shapes-only variant
        return
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"model.{name}: no network comes of its options and images of {input_size}: {reason}") from error


def _built(architecture: Architecture, num_classes: int) -> nn.Module:
    counted = {"values": 0, "layers": 0}

    def add_values(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        counted["values"] += tensor.numel() if tensor is not None else 0
        if counted["values"] > MAX_PARAMETERS:
            raise _TooLarge(f"more than {MAX_PARAMETERS:,} parameters")

    def add_layer(module: nn.Module, name: str, layer: nn.Module | None) -> None:
        counted["layers"] += 1
        if counted["layers"] > MAX_LAYERS:
            raise _TooLarge(f"more than {MAX_LAYERS:,} layers")

    hooks = (
        register_module_parameter_registration_hook(add_values),
        register_module_buffer_registration_hook(add_values),
        register_module_module_registration_hook(add_layer),
    )
    try:
        return architecture.bare().build(num_classes)
    finally:
        for hook in hooks:
            hook.remove()


def _pass_through(network: nn.Module, input_size: tuple[int, int]) -> None:
    """Pass an image of zeros through ``network``, on PyTorch's present device."""

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.numel() > MAX_ACTIVATION:
            raise _TooLarge(
                f"a layer gives {output.numel():,} values for one image, at most {MAX_ACTIVATION:,} are taken"
            )

    for layer in network.modules():
        layer.register_forward_hook(look)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
        network.eval()(torch.zeros(1, 3, *input_size))


def _is_small(network: nn.Module, input_size: tuple[int, int]) -> bool:
    """Whether the weights, and the widest layer at the size of the image, are a quarter of what is allowed at most."""
    weights = list(network.state_dict().values())
    widest = max((max(tensor.shape, default=1) for tensor in weights), default=1)
    values = sum(tensor.numel() for tensor in weights)
    return 4 * values <= MAX_PARAMETERS and 4 * widest * math.prod(input_size) <= MAX_ACTIVATION
