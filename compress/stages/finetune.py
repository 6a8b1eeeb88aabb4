"""Train further without drifting from the network's earlier outputs (Li & Hoiem 2016, arXiv:1606.09282)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Data, Division, Model, Stage, flat_field
from compress.stages._fit import fit
from compress.stages._teaching import Teaching
from compress.stages._training import Training


@dataclass(frozen=True, kw_only=True)
class Finetune(Stage):
    """Train a trained network further, as ``train`` does; an objective uses its earlier state as teacher.

    The teacher is the network as it enters the stage; within ``prune`` it is the unpruned network. Without an objective
    the network learns from the labels alone. The other options are those of ``train``.
    """

    training: Training = flat_field(Training, epochs=20, lr=0.05, schedule="one_cycle")
    teaching: Teaching = flat_field(Teaching)

    def __post_init__(self) -> None:
        self.teaching.need_something()

    def check(self, model: Model) -> Model:
        self.teaching.check(model, model)
        self.training.check(model)
        return model

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        return self.taught_by(model, model, data, seed=seed, scratch=scratch)

    def taught_by(self, teacher: Model, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """Train ``model`` with another teacher than itself."""
        return fit(
            "finetune",
            self.training,
            model,
            data,
            seed=seed,
            scratch=scratch,
            teaching=self.teaching,
            teacher=teacher,
            by_loss=not self.teaching.classifies,
        ).model
