"""Train on, while what the network gave before is kept (learning without forgetting, Li & Hoiem, arXiv:1606.09282)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from compress.contracts import BadInput, Model
from compress.stages._graph import TrainingGraph
from compress.stages._schedules import Schedule
from compress.stages._taught import Taught


@dataclass(frozen=True, kw_only=True)
class Finetune(Taught):
    """Train a trained network further, as ``train`` does, and, with an objective, be taught by what it was.

    The teacher is the network as it enters the stage; within ``prune`` it is the one that has all its channels. Without
    an objective only the labels teach. The other options are those of ``train``.
    """

    trains: ClassVar[bool] = False

    epochs: Annotated[int, Ge(1)] = 20
    lr: Annotated[float, Gt(0)] = 0.05
    schedule: Schedule = "one_cycle"

    def __post_init__(self) -> None:
        if not self.hard_weight and not self._objectives():
            raise BadInput("hard_weight: 0 leaves nothing to learn from; give logits, embedding or relational a weight")

    def check(self, model: Model) -> Model:
        self._check_taught(model, model)
        return super().check(model)

    def _graph(self, model: Model, teacher: Model | None) -> TrainingGraph:
        return self._taught_graph(model, teacher or model)
