"""Networks with all that is needed to use them, and what builds, trains and shrinks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from compress.contracts.components import Component
from compress.contracts.data import Data, Division, Preprocess

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compress.contracts.networks import RetrievalNetwork

Distance = Literal["l2", "cosine", "hamming", "local"]
EmbeddingKind = Literal["float", "binary", "local"]
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
"""``mean`` and ``std`` of ``Preprocess``."""
LOCAL_DIM = 40
"""Values that describe one local feature; an embedding of kind ``local`` has 43 for each: these, y, x and the score."""


@dataclass(frozen=True)
class EmbeddingSpec:
    """What an artifact puts out. ``distance`` cosine means L2-normalised inside the graph.

    Kind ``local`` is L local features one after the other, as ``validators.local_matching`` unpacks and compares them;
    its distance is ``local``.
    """

    dim: int
    kind: EmbeddingKind = "float"
    distance: Distance = "l2"

    @classmethod
    def of(cls, dim: int, distance: Distance) -> EmbeddingSpec:
        """The embedding of the kind that a distance is defined on."""
        kinds: dict[Distance, EmbeddingKind] = {"hamming": "binary", "local": "local"}
        return cls(dim, kinds.get(distance, "float"), distance)


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to build it again, use it and say where it came from.

    Attributes:
        network: stays as it is; whoever changes weights or shapes works on a copy.
        history: one JSON object per epoch and stage, in order.
        pruned: what ``architecture.build`` must be told to give the network's shapes: layer name -> attribute -> value.
            Empty where nothing was removed.
        space: ``space_id`` of the teacher whose embedding space the network was taught; None: a space of its own.
        ranges: smallest and largest value that 8-bit files are to store, by node of
            ``compress.model.quantized_values``; learnt with these weights. Empty where calibration is to find them.
    """

    architecture: Architecture
    network: RetrievalNetwork
    classes: tuple[str, ...]
    preprocess: Preprocess
    embedding: EmbeddingSpec
    history: tuple[Mapping[str, Any], ...] = ()
    pruned: Mapping[str, Mapping[str, int | bool]] = field(default_factory=dict)
    space: str | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch: embeddings float32 [N, D] as retrieval compares them, logits [N, classes]."""

    embeddings: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Architecture(Component):
    """A network family.

    Class attributes:
        distances: how its embeddings may be compared; the first is the default.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("l2", "cosine")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        """The network in training mode, its weights fresh or, by an option, pretrained; headless for 0 classes.

        Raises:
            MissingTool: pretrained weights that the options ask for cannot be had here.
        """
        raise NotImplementedError

    def bare(self) -> Architecture:
        """The same network without pretrained weights, to be filled with others: nothing is read or fetched."""
        return dataclasses.replace(self, **{name: trunk.bare() for name, trunk in self._trunks().items()})

    def normalisation(self) -> Normalisation | None:
        """What the images of its pretrained weights were normalised with; None where all weights are fresh."""
        return next((found for trunk in self._trunks().values() if (found := trunk.normalisation())), None)

    def _trunks(self) -> dict[str, Architecture]:
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, Architecture)}


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A training objective.

    Class attributes:
        distance: by which embeddings trained with it must be compared; None: by any.
        classifies: whether it teaches the network's classifier. Where it does not, accuracy says nothing, and the best
            weights are those that rank best.
    """

    distance: ClassVar[Distance | None] = None
    classifies: ClassVar[bool] = True

    def check(self, network: RetrievalNetwork) -> None:
        """Raises BadInput for a network whose embeddings or logits are not what the loss is defined on."""

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        """A module called as ``loss(embeddings [N, D], logits [N, C], labels int64 [N])`` -> scalar."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Objective(Component):
    """What a student is to have in common with its teacher.

    Attributes:
        weight: factor of this term in the sum that training minimises.
    """

    weight: Annotated[float, Ge(0)] = 1.0

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        """Refuse a pair of models that the objective is not defined on.

        ``shared_space``: the student's embeddings are to be searched for among the teacher's.

        Raises:
            BadInput: with the remedy.
        """

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        """A module called as ``objective(student: Outputs, teacher: Outputs)`` -> scalar; its parameters are learnt."""
        raise NotImplementedError


Latencies = Callable[[Sequence[Model]], list[float]]
"""Milliseconds of processor time for one image, on one thread, of each model's fp32 file, measured in turn."""


@dataclass(frozen=True, kw_only=True)
class Stage(Component):
    """Model -> model: train, distil, prune, …

    Class attributes:
        trains: whether fresh weights leave the stage trained.
    """

    trains: ClassVar[bool] = False

    def check(self, model: Model) -> Model:
        """Refuse, before anything runs, options that do not fit; the model as later stages will find it.

        ``model`` has the right shapes and any weights.

        Raises:
            BadInput: the stage could not do what its options say.
        """
        return model

    def check_data(self, division: Division) -> None:
        """Raises BadInput for images that the stage could not learn from, or not choose the best weights with."""

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """The improved model.

        ``scratch`` is a folder of the stage's own that survives a kill: a stage that finds its earlier
        progress there goes on from it and must end with the same weights.
        """
        raise NotImplementedError

    def inputs(self) -> Mapping[str, str]:
        """sha256 of each file the options name; with other contents a finished stage runs again."""
        return {}


@dataclass(frozen=True, kw_only=True)
class MeasuredStage(Stage):
    """A stage that may have to find an option by measuring exported files."""

    def measures(self) -> str | None:
        """The exporter of the files whose latency is needed; None where the options say it all."""
        raise NotImplementedError

    def measured(self, model: Model, data: Data, latencies: Latencies) -> MeasuredStage:
        """The stage with what it measures filled into its options, where ``measures`` names a format.

        Raises:
            BadInput: what the options ask for cannot be reached.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SharingStage(Stage):
    """A stage that may teach a network the embedding space of another model."""

    def space_of(self) -> Model | None:
        """The model in whose space the network is to live; None: in its own."""
        raise NotImplementedError
