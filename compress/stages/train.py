"""Supervised training with SGD; the defaults are OMCBIR's settings (Zhang et al. 2023, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from compress.contracts import BadInput, Data, Division, Model, UpgradingStage, flat_field
from compress.model.checkpoint import checkpoint_file, load_model
from compress.stages._compatible import check_pair, old_gallery
from compress.stages._fit import fit
from compress.stages._training import Training
from compress.system.files import artifact_sha256


@dataclass(frozen=True, kw_only=True)
class Train(UpgradingStage):
    """Minimise a loss over the training images and keep the weights with the best validation accuracy.

    If the classes of the queries are not in the training images (``Data.open_set``), or the loss does not train the
    classifier, the best weights are those with the highest mAP among the validation images, each of which searches all
    others.

    Attributes:
        compatible_with: folder of a finished run, or a .safetensors file that Compress wrote. The network also learns
            to search this older model's galleries (backward-compatible training, Shen et al. 2020), and the run
            measures how well it does. Its embedding may have more values than the old one's; the first ones search.
        compatible_weight: factor of that term; 0 trains without it and only measures.
    """

    trains: ClassVar[bool] = True

    training: Training = flat_field(Training)
    compatible_with: str | None = None
    compatible_weight: Annotated[float, Ge(0)] = 1.0

    def check(self, model: Model) -> Model:
        self.training.check(model)
        old = self.old_model()
        if old is not None:
            try:
                check_pair(old, model)
            except BadInput as error:
                raise BadInput(f"compatible_with: {self.compatible_with} {error}") from error
        return model

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        old = self.old_model() if self.compatible_weight else None
        gallery = None if old is None else old_gallery(old, data.train, self.compatible_weight)
        return fit("train", self.training, model, data, seed=seed, scratch=scratch, old=gallery).model

    def inputs(self) -> Mapping[str, str]:
        return {} if self.compatible_with is None else {"compatible_with": artifact_sha256(self._file())}

    def old_model(self) -> Model | None:
        return None if self.compatible_with is None else load_model(self._file())

    def _file(self) -> Path:
        assert self.compatible_with is not None
        path = Path(self.compatible_with)
        if not path.exists():
            raise BadInput(f"compatible_with: no file or folder at {path.resolve()}; run the old model's recipe first")
        try:
            return checkpoint_file(path)
        except BadInput as error:
            raise BadInput(f"compatible_with: {error}") from error
