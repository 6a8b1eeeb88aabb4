"""Check every artifact of a run against the PyTorch model, on the runtimes that can execute it."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from compress.bundle.gallery_index import RECALL, build_index, index_path
from compress.bundle.golden import Golden
from compress.bundle.manifest import json_values
from compress.bundle.neighbours import SECTION, neighbour_overlap
from compress.bundle.rankings import MEASURED, MEASURED_PER_CLASS, RANKINGS, SHOWN, TOP, Rankings
from compress.bundle.worst_images import write_worst
from compress.contracts import Artifact, GalleryOptions, HeldOut, Index, Model, Observation, Runtime
from compress.gallery.store import GALLERY, Gallery, read_gallery, write_gallery
from compress.model.identity import model_sha256, space_id
from compress.model.reference import embed, observe
from compress.recipe.reader import Validation
from compress.run.controls import adversaries, judge
from compress.run.workspace import Workspace
from compress.system import environment
from compress.system.files import artifact_bytes, artifact_sha256, atomic, write_text
from compress.system.progress import say
from validators import runtimes_for
from validators.compatibility import Sample, compatibility, sample, sample_of
from validators.curves import spread
from validators.gates import INDEX_RECALL, default_limits, evaluate_gates
from validators.measure import entry, measure, static_values, unexecuted
from validators.pytorch_mobile import described

if TYPE_CHECKING:
    from validators.checks.retrieval_map import RetrievalMap

SOURCE = "pytorch"
"""The PyTorch model's name among the artifacts of the compatibility matrix."""
TEACHER = "teacher"
"""The name there of the model in whose embedding space the PyTorch model's lives."""


def chosen_runtimes(validation: Validation, file_format: str) -> list[Runtime]:
    """The best runtime that is available, then those the recipe names."""
    known = runtimes_for(file_format)
    best = next((runtime for runtime in known if runtime.unavailable() is None), known[0])
    named = [runtime for runtime in validation.runtimes if file_format in runtime.formats]
    return [best, *(runtime for runtime in named if runtime != best)]


class Assessor:
    """Checks artifacts one after the other. The reference is computed once, and only if something must be checked."""

    def __init__(
        self,
        work: Workspace,
        validation: Validation,
        model: Model,
        held_out: HeldOut,
        data_sha256: str,
        teacher: Model | None = None,
    ) -> None:
        self._work = work
        self._validation = validation
        self._model = model
        self._held_out = held_out
        self._teacher = teacher
        self._samples: dict[str, Path] = {}
        self._ranked: list[dict[str, Any]] = []
        self._key = {
            "model": model_sha256(model),
            "data": data_sha256,
            "checks": [{check.component_name(): check.options()} for check in validation.checks],
            "embedding": asdict(model.embedding),
            "rankings": [MEASURED, MEASURED_PER_CLASS, SHOWN, TOP],
            "scales": held_out.scales,
            "versions": environment.versions(["torch", "numpy"]),
        }

    @functools.cached_property
    def _reference(self) -> Observation:
        say("validate: PyTorch model")
        observed = observe(self._model, self._held_out)
        check = next(check for check in self._validation.checks if check.section == "retrieval")
        scores = cast("RetrievalMap", check).measure(observed, self._held_out, self._model.embedding)
        return replace(observed, retrieval=scores)

    def source(self) -> dict[str, Any]:
        """The PyTorch model's own retrieval scores, with the rule of each."""
        scores: dict[str, Any] = self._work.reuse(
            "source", self._key, [], lambda _: json_values(self._reference.retrieval)
        )
        return scores

    def gallery(self, options: GalleryOptions, recipe_name: str) -> Gallery:
        """The index of the gallery's features, written into the bundle."""
        file = self._work.folder / GALLERY
        about = {"name": recipe_name, "space_id": space_id(self._model), "model_sha256": self._key["model"]}

        def build(_: Path) -> None:
            images, classes = self._held_out.gallery, self._model.classes
            write_gallery(file, images, self._reference.gallery, classes, self._model.embedding, options, about)

        versions = {"sqlite": sqlite3.sqlite_version, **environment.versions(["pillow"])}
        chosen = {key: value for key, value in options.options().items() if key != "index"}
        key = {**self._key, "gallery": chosen, "about": about, "writers": versions}
        self._work.reuse("gallery", key, [file], build)
        return read_gallery(file)

    def entry(self, artifact: Artifact, golden: Golden, gallery: Gallery) -> dict[str, Any]:
        """The artifact's entry in bundle.json; ``golden`` and ``gallery`` are those of the bundle."""
        file = {
            "path": artifact.path.relative_to(self._work.folder).as_posix(),
            "format": artifact.format,
            "precision": artifact.precision,
            "bytes": artifact_bytes(artifact.path),
            "sha256": artifact_sha256(artifact.path),
            **described(artifact.path, artifact.format),
            **artifact.details,
        }
        runtimes = chosen_runtimes(self._validation, artifact.format)
        first, *others = [self._on(runtime, artifact, file, golden, gallery) for runtime in runtimes]
        return {**file, **first, "other_runtimes": others}

    def gallery_entry(self, index: Index | None, gallery: Gallery, seed: int) -> dict[str, Any]:
        """What bundle.json says about the gallery; the golden pack is written.

        ``index`` is built, beside the gallery, and measured with some of the queries, as many of each class.
        """
        counts = {"images": gallery.meta["images"], "of": gallery.meta["of"]}
        if index is None:
            return {**counts, "index": None}

        def build(_: Path) -> Any:
            say(f"gallery: {index.component_name()}")
            queries, leave_one_out = self._held_out.queries, self._held_out.leave_one_out
            rows = spread(queries.labels, -(-MEASURED // len(np.unique(queries.labels))))
            row_of = {name: row for row, name in enumerate(gallery.names)} if leave_one_out else {}
            own = np.array([row_of.get(queries.ids[row], -1) for row in rows.tolist()])
            own_in_all = rows if leave_one_out else np.full(len(rows), -1)
            whole = (self._reference.gallery, own_in_all) if counts["images"] < counts["of"] else None
            features = self._reference.queries[rows]
            return json_values(build_index(index, self._work.folder, features, own, seed, whole))

        key = {
            **self._key,
            "index": {index.component_name(): index.options()},
            "gallery": artifact_sha256(self._work.folder / GALLERY),
            "golden": artifact_sha256(self._work.folder / "golden"),
            "seed": seed,
            "measured": MEASURED,
            "writers": {"sqlite": sqlite3.sqlite_version, **environment.versions(["faiss-cpu"])},
        }
        found = self._work.reuse("index", key, [self._work.folder / index_path(index)], build)
        limit = self._validation.gates.get(INDEX_RECALL, index.least_recall)
        gates = evaluate_gates({INDEX_RECALL: limit}, {INDEX_RECALL: found[RECALL]})
        return {**counts, **found, "gates": [asdict(gate) for gate in gates]}

    def rankings(self, gallery: Gallery, thumbnail: int) -> None:
        """Write ``rankings.json``: what PyTorch found, and every artifact that ``entry`` executed.

        Args:
            thumbnail: longer side of the queries' pictures in pixels.
        """
        ranker = self._ranker(gallery)

        def build(_: Path) -> Any:
            say("report: pictures and rankings")
            return {
                **ranker.about(thumbnail),
                "models": [{"path": SOURCE, "runtime": None, **ranker.of(self._reference)}],
            }

        pictures = {"thumbnail": thumbnail, "writer": environment.versions(["pillow"])}
        key = {**self._key, "gallery": artifact_sha256(self._work.folder / GALLERY), **pictures}
        found = self._work.reuse("rankings", key, [], build)
        found["models"] += self._ranked
        write_text(self._work.folder / RANKINGS, json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n")

    def _ranker(self, gallery: Gallery) -> Rankings:
        return Rankings(self._held_out, gallery, self._model.classes, self._model.embedding)

    def _on(
        self, runtime: Runtime, artifact: Artifact, file: Mapping[str, Any], golden: Golden, gallery: Gallery
    ) -> dict[str, Any]:
        checks, spec = self._validation.checks, self._model.embedding
        limits = self._limits(artifact.precision, artifact.format)
        static = static_values(file, self._sizes)
        if (reason := runtime.unavailable()) is not None:
            say(f"validate: {artifact.path.name} was not run: {reason}")
            return {**unexecuted(runtime, reason, checks, limits, static), SECTION: None}
        name = runtime.title()
        embeddings = self._work.state / "embeddings" / f"{artifact.path.name}-{name}.npz"

        def build(_: Path) -> Any:
            say(f"validate: {artifact.path.name} on {name}")
            result, observed = measure(runtime, artifact.path, self._reference, self._held_out, checks, spec)
            if observed is None:
                return json_values({**result, SECTION: None, "rankings": None})
            _save(embeddings, sample(observed, self._held_out))
            overlap, ranked = neighbour_overlap(golden, gallery, observed.probes), self._ranker(gallery).of(observed)
            return json_values({**result, SECTION: overlap, "rankings": ranked})

        version = runtime.version()
        key = {
            **self._key,
            "artifact": file["sha256"],
            "runtime": {name: runtime.options()},
            "version": version,
            "golden": artifact_sha256(self._work.folder / "golden"),
            "gallery": artifact_sha256(self._work.folder / GALLERY),
        }
        result = self._work.reuse(f"validate-{artifact.path.name}-{name}", key, [embeddings], build)
        if (ranked := result.pop("rankings")) is not None:
            self._ranked.append({"path": file["path"], "runtime": name, **ranked})
        if result["failure"] is None and file["path"] not in self._samples:
            self._samples[file["path"]] = embeddings
        if result["parity"] is not None:
            worst = result["parity"]["worst_image"]
            picture = write_worst(self._work.folder, f"{artifact.path.name}.{name}", worst, self._held_out)
            result["parity"]["worst_image_file"] = picture
        return entry(runtime, result, limits, static)

    def _limits(self, precision: str, file_format: str | None = None) -> dict[str, float]:
        own = default_limits(precision, file_format, self._model.embedding.kind)
        of_artifacts = {name: limit for name, limit in self._validation.gates.items() if name != INDEX_RECALL}
        return {**own, **of_artifacts}

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        """Values of the model itself that gates may limit."""
        from architectures import complexity

        sizes = complexity(self._model.network, self._model.preprocess.size)
        return {"params": sizes.params, "macs": sizes.macs}

    def controls(self, artifacts: Sequence[Artifact], probe_labels: np.ndarray, seed: int) -> list[dict[str, Any]]:
        """Whether the checks catch every adversary at the limits of each precision, for bundle.json."""
        limits = {artifact.precision: self._limits(artifact.precision) for artifact in artifacts}

        def build(_: Path) -> Any:
            say("validate: controls that must fail")
            outputs = adversaries(self._model, self._held_out.probes, seed)
            right, checks, spec = self._reference.probes, self._validation.checks, self._model.embedding
            return [asdict(c) for c in judge(outputs, right, self._held_out, probe_labels, checks, spec, limits)]

        key = {**self._key, "limits": limits, "seed": seed}
        results: list[dict[str, Any]] = self._work.reuse("controls", key, [], build)
        return results

    def compatibility(self) -> dict[str, dict[str, float]]:
        """mAP for every (gallery artifact, query artifact) pair of those that ``entry`` executed, and PyTorch.

        Where the model shares a teacher's space, the teacher is one of them.
        """

        def build(_: Path) -> Any:
            say("validate: every artifact against every other")
            samples = {path: _load(file) for path, file in self._samples.items()}
            samples = {SOURCE: sample(self._reference, self._held_out), **samples}
            if self._teacher is not None:
                samples[TEACHER] = sample_of(functools.partial(embed, self._teacher), self._held_out)
            return json_values(compatibility(samples, self._held_out, self._model.embedding))

        key = {**self._key, "samples": {path: artifact_sha256(file) for path, file in self._samples.items()}}
        if self._teacher is not None:
            key["teacher"] = model_sha256(self._teacher)
        matrix: dict[str, dict[str, float]] = self._work.reuse("compatibility", key, [], build)
        return matrix


def _save(path: Path, embeddings: Sample) -> None:
    with atomic(path) as unfinished:
        np.savez(unfinished, queries=embeddings.queries, gallery=embeddings.gallery)


def _load(path: Path) -> Sample:
    with np.load(path) as arrays:
        return Sample(arrays["queries"], arrays["gallery"])
