"""Models, and the base classes of the components that build, train and shrink them."""

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
    """The output of an artifact. With ``distance`` cosine it is L2-normalised inside the graph.

    Kind ``local`` is L local features one after the other, as ``validators.local_matching`` unpacks and compares them;
    its distance is ``local``.
    """

    dim: int
    kind: EmbeddingKind = "float"
    distance: Distance = "l2"

    @classmethod
    def of(cls, dim: int, distance: Distance) -> EmbeddingSpec:
        """Make the specification of an embedding of the kind that the distance needs."""
        kinds: dict[Distance, EmbeddingKind] = {"hamming": "binary", "local": "local"}
        return cls(dim, kinds.get(distance, "float"), distance)


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to build it again, to use it and to trace its origin.

    Attributes:
        network: is never changed; code that changes weights or shapes works on a copy.
        history: one JSON object per epoch and stage, in order.
        pruned: changes that give a network from ``architecture.build`` the pruned shapes: layer name -> attribute ->
            value. Empty if nothing was removed.
        space: ``space_id`` of the teacher whose embedding space the network shares; None if it has its own space.
        ranges: smallest and largest value that 8-bit files are to store, by node of
            ``compress.model.quantized_values``; learnt with these weights. Empty if calibration is to find them.
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
    """A network's outputs for a batch: embeddings float32 [N, D] as retrieval compares them, logits [N, classes].

    Attributes:
        features: float32 [N, F]: of a student what enters its last linear layer, of teachers their embeddings before
            they are reduced; None if no objective needs them.
    """

    embeddings: torch.Tensor
    logits: torch.Tensor
    features: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Architecture(Component):
    """A network family.

    Class attributes:
        distances: distances by which its embeddings can be compared; the first is the default.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("l2", "cosine")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        """Build the network in training mode, with fresh or, by an option, pretrained weights; headless for 0 classes.

        Raises:
            MissingTool: the pretrained weights of the options are not available here.
        """
        raise NotImplementedError

    def bare(self) -> Architecture:
        """The same architecture without pretrained weights, to load others; nothing is read or downloaded."""
        return dataclasses.replace(self, **{name: trunk.bare() for name, trunk in self._trunks().items()})

    def has_weights(self) -> bool:
        """Whether ``build`` starts from trained weights, so that the network can be used without training."""
        trunks = self._trunks()
        unloaded = dataclasses.replace(self, **{name: trunk.bare() for name, trunk in trunks.items()})
        return self.bare() != unloaded or any(trunk.has_weights() for trunk in trunks.values())

    def normalisation(self) -> Normalisation | None:
        """The normalisation with which its pretrained weights were trained; None if all weights are fresh."""
        return next((found for trunk in self._trunks().values() if (found := trunk.normalisation())), None)

    def _trunks(self) -> dict[str, Architecture]:
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, Architecture)}


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A training objective.

    Class attributes:
        distance: distance by which embeddings trained with it must be compared; None for any.
        classifies: whether it trains the network's classifier. If not, accuracy says nothing, and the best weights are
            those that rank best.
    """

    distance: ClassVar[Distance | None] = None
    classifies: ClassVar[bool] = True

    def check(self, network: RetrievalNetwork) -> None:
        """Raises BadInput if the loss is not defined on the network's embeddings or logits."""

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        """Build a module that is called as ``loss(embeddings [N, D], logits [N, C], labels int64 [N])`` -> scalar."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Objective(Component):
    """A training objective that makes a student similar to its teacher.

    Class attributes:
        of: what it compares: the embeddings, or the features of ``Outputs``, which its module then gets as embeddings.

    Attributes:
        weight: factor of this term in the sum that training minimises.
    """

    of: ClassVar[Literal["embedding", "features"]] = "embedding"

    weight: Annotated[float, Ge(0)] = 1.0

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        """Refuse a pair of models on which the objective is not defined.

        ``shared_space``: whether the teacher's gallery is to be searched with the student's embeddings.

        Raises:
            BadInput: with the remedy.
        """

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        """Build a module called as ``objective(student: Outputs, teacher: Outputs)`` -> scalar; it may be trained."""
        raise NotImplementedError


Latencies = Callable[[Sequence[Model]], list[float]]
"""Measures each model's fp32 file in turn: milliseconds of processor time for one image on one thread."""


@dataclass(frozen=True, kw_only=True)
class Stage(Component):
    """Makes a new model from a model: train, distil, prune, …

    Class attributes:
        trains: whether the stage can train fresh weights.
    """

    trains: ClassVar[bool] = False

    def check(self, model: Model) -> Model:
        """Refuse, before anything runs, options that do not fit; returns the model as later stages will get it.

        ``model`` has the right shapes and any weights.

        Raises:
            BadInput: the stage could not do what its options say.
        """
        return model

    def check_data(self, division: Division) -> None:
        """Raises BadInput if the stage cannot learn from the images, or cannot choose the best weights with them."""

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """Make the new model.

        ``scratch`` is the stage's own folder, which survives a kill: a stage that finds its earlier progress there
        resumes from it and must end with the same weights.
        """
        raise NotImplementedError

    def inputs(self) -> Mapping[str, str]:
        """sha256 of each file the options name; if a file changes, the stage is rerun."""
        return {}


@dataclass(frozen=True, kw_only=True)
class MeasuredStage(Stage):
    """A stage that may have to find an option by measuring exported files."""

    def measures(self) -> str | None:
        """The exporter of the files whose latency is needed; None if nothing needs to be measured."""
        raise NotImplementedError

    def measured(self, model: Model, data: Data, latencies: Latencies) -> MeasuredStage:
        """Measure, and fill the result into the options; called if ``measures`` names a format.

        Raises:
            BadInput: the target of the options cannot be reached.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SharingStage(Stage):
    """A stage that may teach a network the embedding space of another model."""

    def space_of(self) -> Model | None:
        """The model whose embedding space the network is to share; None if it has its own."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class UpgradingStage(Stage):
    """A stage that may train a network to search the gallery of an older model."""

    def old_model(self) -> Model | None:
        """The model whose gallery the network is to search; None if there is none."""
        raise NotImplementedError
