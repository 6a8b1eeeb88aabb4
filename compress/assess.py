"""Check every artifact of a run against the PyTorch model, on the runtimes that can execute it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from compress import environment
from compress.manifest import json_values
from compress.contracts import Artifact, HeldOut, Model, Observation, Runtime
from compress.hashing import artifact_bytes, artifact_sha256
from compress.model import model_sha256
from compress.progress import say
from compress.recipe import Validation
from compress.reference import observe
from compress.workspace import Workspace

if TYPE_CHECKING:
    from validators.checks.retrieval_map import RetrievalMap


class Assessor:
    """Checks artifacts one after the other. The reference is computed once, and only if something must be checked."""

    def __init__(
        self, work: Workspace, validation: Validation, model: Model, held_out: HeldOut, data_sha256: str
    ) -> None:
        self._work = work
        self._validation = validation
        self._model = model
        self._held_out = held_out
        self._key = {
            "model": model_sha256(model),
            "data": data_sha256,
            "checks": [{check.component_name(): check.options()} for check in validation.checks],
            "embedding": asdict(model.embedding),
            "versions": environment.versions(["torch", "numpy"]),
        }

    @functools.cached_property
    def _reference(self) -> Observation:
        say("validate: PyTorch model")
        observed = observe(self._model, self._held_out)
        scores = self._retrieval.measure(observed, self._held_out, self._model.embedding)
        return replace(observed, retrieval=scores)

    @property
    def _retrieval(self) -> RetrievalMap:
        return next(check for check in self._validation.checks if check.section == "retrieval")  # type: ignore[return-value]

    def source(self) -> dict[str, Any]:
        """The PyTorch model's own retrieval scores, with the rule of each."""
        scores: dict[str, Any] = self._work.reuse("source", self._key, [], lambda _: json_values(self._reference.retrieval))
        return scores

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        """Values of the model itself that gates may limit."""
        from architectures import complexity

        sizes = complexity(self._model.network, self._model.preprocess.size)
        return {"params": sizes.params, "macs": sizes.macs}

    def entry(self, artifact: Artifact) -> dict[str, Any]:
        """The artifact's entry in bundle.json."""
        file = {
            "path": artifact.path.relative_to(self._work.folder).as_posix(),
            "format": artifact.format,
            "precision": artifact.precision,
            "bytes": artifact_bytes(artifact.path),
            "sha256": artifact_sha256(artifact.path),
        }
        static = {**self._sizes, "bytes": file["bytes"]}
        first, *others = [
            self._on(runtime, artifact, file["sha256"], static) for runtime in self._runtimes(artifact.format)
        ]
        return {**file, **first, "other_runtimes": others}

    def _runtimes(self, file_format: str) -> list[Runtime]:
        """The best runtime that is available, then those the recipe names."""
        from validators import runtimes_for

        known = runtimes_for(file_format)
        best = next((runtime for runtime in known if runtime.unavailable() is None), known[0])
        named = [runtime for runtime in self._validation.runtimes if file_format in runtime.formats and runtime != best]
        return [best, *named]

    def _on(self, runtime: Runtime, artifact: Artifact, sha256: str, static: Mapping[str, float]) -> dict[str, Any]:
        from validators.gates import default_limits, evaluate_gates
        from validators.measure import gate, measure

        name = runtime.component_name()
        limits = {**default_limits(artifact.precision), **self._validation.gates}
        unavailable = runtime.unavailable()
        if unavailable is not None:
            say(f"validate: {artifact.path.name} was not run: {unavailable}")
            known = {gate: limit for gate, limit in limits.items() if gate in static}
            unmeasured = {**{check.section: None for check in self._validation.checks}, "latency_ms": None}
            gates = [asdict(g) for g in evaluate_gates(known, static)]
            return {"runtime": name, "evidence": "not-run", "reason": unavailable, **unmeasured, "gates": gates}

        def build(_: Any) -> Any:
            say(f"validate: {artifact.path.name} on {name}")
            reference, held_out = self._reference, self._held_out
            return json_values(
                measure(runtime, artifact.path, reference, held_out, self._validation.checks, self._model.embedding)
            )

        key = {
            **self._key,
            "artifact": sha256,
            "runtime": {name: runtime.options()},
            "runtime_version": runtime.version(),
        }
        result = self._work.reuse(f"validate-{artifact.path.name}-{name}", key, [], build)
        reason = result["failure"]
        gates = [asdict(g) for g in gate(limits, result, static)]
        evidence = runtime.evidence if reason is None else "not-run"
        measured = {name: value for name, value in result.items() if name != "failure"}
        return {
            "runtime": name,
            "runtime_version": runtime.version(),
            "evidence": evidence,
            "reason": reason,
            **measured,
            "gates": gates,
        }
