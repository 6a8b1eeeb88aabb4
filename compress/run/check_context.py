"""What all checks of a run share: the trained model, the held-out images, and the model's embeddings of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from compress import plugins
from compress.bundle.rankings import MEASURED, MEASURED_PER_CLASS, SHOWN, TOP
from compress.contracts import BadInput, HeldOut, Model, Observation
from compress.model.identity import model_sha256
from compress.model.reference import observe
from compress.recipe.reader import Validation
from compress.run.photographs import Photographs
from compress.run.workspace import Workspace, code_key
from compress.system import environment
from compress.system.progress import say
from validators.checks.retrieval_map import RetrievalMap
from validators.metrics import is_own, own_metric
from validators.results import SourceScores


@dataclass(frozen=True)
class CheckContext:
    """One trained model with everything that is needed to check its artifacts.

    Attributes:
        work: the run's folder, which stores finished checks.
        data_sha256: ``Data.fingerprint``.
        photographs: held-out photographs that are prepared in other ways; None if the recipe asks for none.
    """

    work: Workspace
    validation: Validation
    model: Model
    held_out: HeldOut
    data_sha256: str
    photographs: Photographs | None = None

    @functools.cached_property
    def key(self) -> Mapping[str, Any]:
        """Everything that each check depends on, as ``Workspace.reuse`` takes it."""
        return {
            "model": model_sha256(self.model),
            "data": self.data_sha256,
            "checks": [{check.component_name(): check.options()} for check in self.validation.checks],
            "embedding": asdict(self.model.embedding),
            "rankings": [MEASURED, MEASURED_PER_CLASS, SHOWN, TOP],
            "scales": self.held_out.scales,
            "versions": environment.versions(["torch", "numpy"]),
            **code_key(*self.validation.checks),
            **self._metrics_code(),
            "photos": None if self.photographs is None else self.photographs.options.options(),
        }

    def _metrics_code(self) -> dict[str, str]:
        """sha256 of the code of each metric that is not ours."""
        found = {name: plugins.code.sha256_of(own_metric(name)) for name in self._retrieval.metrics if is_own(name)}
        return {f"metric {name}": sha256 for name, sha256 in found.items() if sha256 is not None}

    @functools.cached_property
    def _observed(self) -> tuple[Observation, SourceScores]:
        say("validate: PyTorch model")
        observed = observe(self.model, self.held_out)
        scores = self._retrieval.measure(observed, self.held_out, self.model.embedding)
        return replace(observed, mean_ap=scores.mAP), scores

    @property
    def reference(self) -> Observation:
        """The PyTorch model's embeddings; computed once, and only if something must be checked."""
        return self._observed[0]

    def source(self) -> SourceScores:
        """The PyTorch model's own retrieval scores, each with its rule."""
        return self.work.reuse_as(SourceScores, "source", self.key, [], lambda _: self._observed[1])

    @functools.cached_property
    def sizes(self) -> dict[str, float]:
        """The model's own sizes that gates may limit, by location."""
        from architectures import complexity

        sizes = complexity(self.model.network, self.model.preprocess.size)
        return {"model.params": sizes.params, "model.macs": sizes.macs}

    @property
    def _retrieval(self) -> RetrievalMap:
        for check in self.validation.checks:
            if isinstance(check, RetrievalMap):
                return check
        raise BadInput("validate: there is no check 'retrieval'")
