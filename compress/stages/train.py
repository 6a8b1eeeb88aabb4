"""Supervised training with SGD; the defaults are OMCBIR's settings (Zhang et al. 2023, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compress.contracts import Data, Division, Model, Stage, flat_field
from compress.stages._fit import fit
from compress.stages._training import Training


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Minimise a loss over the training images and keep the weights with the best validation accuracy.

    If the classes of the queries are not in the training images (``Data.open_set``), or the loss does not train the
    classifier, the best weights are those with the highest mAP among the validation images, each of which searches all
    others.
    """

    trains: ClassVar[bool] = True

    training: Training = flat_field(Training)

    def check(self, model: Model) -> Model:
        self.training.check(model)
        return model

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        return fit("train", self.training, model, data, seed=seed, scratch=scratch).model
