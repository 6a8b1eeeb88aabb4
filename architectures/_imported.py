"""A network of the user's own: a class, or a function that makes one, in an installed package or in a Python file."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import fx, nn

from architectures._network import linear_classifier
from architectures._weights import read_weights
from compress.contracts import Architecture, BadInput
from compress.contracts.networks import RetrievalNetwork
from compress.plugins import code, did_you_mean
from compress.system.torchvision import import_torchvision
from compress.system.tracing import has_whole_modules, require_no_choices, trace

_PROBED = (224, 128, 64, 32)
"""Sizes, in pixels, of the image that shows what the network gives; the first that it takes is used."""
_HINTS = (bool, int, float, str)
_INSIDE = ("state_dict", "model_state_dict", "model", "net")
_PREFIX = "module."


@dataclass(frozen=True, kw_only=True)
class Imported(Architecture):
    """Embeds images by what the network gives: one vector per image, or the mean of a feature map.

    The parameters of the class are options, too.

    Attributes:
        weights: a file of trained weights: .safetensors, .pth or .pt with a state dict, alone or under ``state_dict``.
        leave_out: layers that are replaced by the identity, such as a classifier: ``[fc]``.
        output: which output is the embedding, if the network gives several: its position or its key.
        code: sha256 of the source; None computes it. If it is given, as in a bundle's recipe, the source must be that.
    """

    network: ClassVar[str] = ""

    weights: str | None = None
    leave_out: tuple[str, ...] = ()
    output: int | str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        found = hashlib.sha256(code.source_of(self.network).read_bytes()).hexdigest()
        if self.code not in (None, found):
            raise BadInput(
                f"code: {code.source_of(self.network)} is not the source of that sha256 any more; remove this option"
            )
        object.__setattr__(self, "code", found)

    @classmethod
    def component_name(cls) -> str:
        return cls.network

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        names = {f.name for f in dataclasses.fields(Imported)}
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in names}
        try:
            module = _maker(self.network)(**given)
        except Exception as error:  # whatever their code raises
            raise BadInput(f"{self.network}: cannot be built with {given}: {code.first_line(error)}") from error
        if not isinstance(module, nn.Module):
            raise BadInput(f"{self.network}: gives a {type(module).__name__} and no torch.nn.Module")
        for layer in self.leave_out:
            _replace(module, layer)
        if self.weights is not None:
            _load(module, Path(self.weights).expanduser())
        return _Wrapped(module, self.output, num_classes, self.network)

    def bare(self) -> Architecture:
        return replace(self, weights=None)


def architecture_of(network: str) -> type[Architecture]:
    """Make the architecture of ``module:Class`` or ``./file.py:Class``, whose parameters become its options.

    Raises:
        BadInput: there is no such module, file or class, or a parameter that must be given has the name of an option.
    """
    own = {f.name for f in dataclasses.fields(Imported)}
    fields: list[tuple[str, Any, Any]] = []
    made = _maker(network)
    if isinstance(made, type) and issubclass(made, Architecture):
        return made  # a component already
    code.source_of(network)
    for parameter in inspect.signature(made).parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.name in own or parameter.kind is parameter.POSITIONAL_ONLY:
            if required:
                raise BadInput(
                    f"{network}: its parameter '{parameter.name}' cannot be given, as it has the name of an option or "
                    "none; give it a default, or write a function around it"
                )
            continue
        default = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
        if not required and type(default).__hash__ is None:
            continue  # a mapping or a set, which no recipe gives
        hint = parameter.annotation if parameter.annotation in _HINTS else Any
        fields.append((parameter.name, hint, field(default=MISSING if required else default, kw_only=True)))
    component = dataclasses.make_dataclass("Imported", fields, bases=(Imported,), frozen=True, kw_only=True)
    component.network = network  # type: ignore[attr-defined]
    component.__module__ = __name__
    return component


def _maker(network: str) -> Callable[..., Any]:
    if network.partition(":")[0].partition(".")[0] in ("torchvision", "timm"):
        import_torchvision()
    return code.load(network)  # type: ignore[no-any-return]


def _replace(module: nn.Module, layer: str) -> None:
    parent, _, name = layer.rpartition(".")
    known = [each for each, _ in module.named_modules() if each]
    if layer not in known:
        raise BadInput(f"leave_out: the network has no layer '{layer}'{did_you_mean(layer, known)}")
    setattr(module.get_submodule(parent), name, nn.Identity())


def _load(module: nn.Module, path: Path) -> None:
    """Load a state dict; tensors of layers that were left out, and of further heads, are ignored."""
    stored = read_weights(path, "weights")
    for key in _INSIDE:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping):
        raise BadInput(f"weights: {path} holds a {type(stored).__name__} and no state dict; save model.state_dict()")
    stored = {str(name).removeprefix(_PREFIX): tensor for name, tensor in stored.items()}
    own = module.state_dict()
    for name, tensor in own.items():
        there = stored.get(name)
        if not isinstance(there, torch.Tensor) or there.shape != tensor.shape:
            shape = list(there.shape) if isinstance(there, torch.Tensor) else "nothing"
            near = did_you_mean(name, list(stored)) if there is None else ""
            raise BadInput(f"weights: {path}: '{name}' holds {shape}, the network needs {list(tensor.shape)}{near}")
    module.load_state_dict({name: stored[name] for name in own})


class _Wrapped(RetrievalNetwork):
    """Gives one vector per image; what has to be done for it is found out once, so that the graph has no branches."""

    def __init__(self, network: nn.Module, output: int | str | None, num_classes: int, name: str) -> None:
        super().__init__()
        self.network = network
        self._output = output
        shape = self._probe(name)
        self.pool = nn.AdaptiveAvgPool2d(1) if len(shape) == 4 else nn.Identity()
        self.embedding_dim = shape[1]
        self.classifier = linear_classifier(self.embedding_dim, num_classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        given = self.network(x)
        embedding: torch.Tensor = self.pool(given if self._output is None else given[self._output])
        return embedding.flatten(1)

    def _probe(self, name: str) -> tuple[int, ...]:
        """The shape of the embedding, or of the feature map, of one black image."""
        training = self.network.training
        try:
            given = _tried(self.network.eval(), name)
        finally:
            self.network.train(training)
        if isinstance(given, Mapping | tuple | list):
            known = [repr(key) for key in given] if isinstance(given, Mapping) else [str(n) for n in range(len(given))]
            if self._output is None:
                raise BadInput(f"output: {name} gives several outputs; name the embedding's: {', '.join(known)}")
            try:
                given = given[self._output]  # type: ignore[index]
            except (KeyError, IndexError, TypeError) as error:
                raise BadInput(f"output: {name} has no output {self._output!r} (it has {', '.join(known)})") from error
        elif self._output is not None:
            raise BadInput(f"output: {name} gives one output; remove this option")
        shape = tuple(given.shape) if isinstance(given, torch.Tensor) else ()
        if len(shape) not in (2, 4):
            raise BadInput(
                f"{name}: gives {list(shape) or type(given).__name__}, neither one vector [N, D] per image nor a "
                "feature map [N, C, h, w]; name another output, or leave out the layers that shape it"
            )
        return shape


def _tried(network: nn.Module, name: str) -> Any:
    problem: Exception | None = None
    for side in _PROBED:
        image = torch.zeros(1, 3, side, side)
        try:
            with torch.no_grad():
                given = network(image)
        except Exception as error:  # a fixed size, or a mistake
            problem = problem or error
            continue
        _require_traceable(network, image, name)
        return given
    raise BadInput(f"{name}: takes no RGB image [N, 3, H, W]: {code.first_line(problem)}") from problem


def _require_traceable(network: nn.Module, image: torch.Tensor, name: str) -> None:
    try:
        root, graph = trace(nn.Sequential(network))
        if has_whole_modules(fx.GraphModule(root, graph)):
            require_no_choices(network, image)
    except Exception as error:  # whatever their code raises
        raise BadInput(
            f"{name}: cannot be exported, as its forward depends on the values of tensors ({code.first_line(error)})"
        ) from error
