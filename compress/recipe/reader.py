"""YAML -> frozen Recipe. Every error in the file is collected; they are raised once."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compress import plugins
from compress.contracts import (
    Architecture,
    BadInput,
    Check,
    Component,
    Dataset,
    Distance,
    Exporter,
    GalleryOptions,
    Index,
    MissingTool,
    PhotoOptions,
    Runtime,
    Stage,
)
from compress.recipe.overrides import apply_override, parse_yaml, yaml_reader
from compress.recipe.tuning import read_space
from compress.system.bounded_reading import read_text

SECTIONS = (
    *("name", "seed", "license", "log", "data", "model", "train", "compress", "export", "gallery", "validate"),
    "tune",
)
LOGGERS = ("csv", "tensorboard", "mlflow", "wandb")
"""Where ``log`` can send what a training measures, beside metrics.jsonl."""
RECIPE_BYTES = 1_000_000
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
DISTANCES: tuple[Distance, ...] = typing.get_args(Distance)

C = TypeVar("C", bound=Component)
T = TypeVar("T")


@dataclass(frozen=True)
class Validation:
    """How artifacts are checked.

    Attributes:
        checks: what is measured, in order.
        runtimes: names of the runtimes that must execute each format they can; empty means every native one.
        gates: limits that replace or extend the defaults of each precision.
        photos: how photographs are prepared in other ways; None if they are not.
    """

    checks: tuple[Check, ...]
    runtimes: tuple[Runtime, ...]
    gates: Mapping[str, float]
    photos: PhotoOptions | None = None


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        checkpoint: weights to start from instead of fresh ones.
        distance: how two embeddings are compared; cosine puts an L2 normalisation into the artifacts.
        license: the licence of the weights, written into every artifact.
        stages: (step name, stage) in order; ``train`` first, then ``1-prune`` and so on.
        log: the loggers that get what a training measures, out of ``LOGGERS``.
        resolved: the whole recipe as plain values with every default filled in.
    """

    name: str
    seed: int
    license: str
    data: Dataset
    architecture: Architecture
    checkpoint: Path | None
    distance: Distance
    stages: tuple[tuple[str, Stage], ...]
    exports: tuple[Exporter, ...]
    gallery: GalleryOptions
    validation: Validation
    log: tuple[str, ...]
    resolved: Mapping[str, Any]

    def to_yaml(self) -> str:
        """The resolved recipe; reading it again gives an equal recipe."""
        stream = io.StringIO()
        yaml_reader().dump(dict(self.resolved), stream)
        return stream.getvalue()

    def measured(self, stages: Sequence[tuple[str, Stage]], exports: Sequence[Exporter]) -> Recipe:
        """The same recipe with the choices that its stages and exporters measured; running it measures nothing."""
        resolved = {**self.resolved, **_resolved(stages, exports)}
        return dataclasses.replace(self, stages=tuple(stages), exports=tuple(exports), resolved=resolved)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()

    @property
    def steps(self) -> tuple[str, ...]:
        """What ``--until`` accepts, in order."""
        return ("data", *(name for name, _ in self.stages), "export", "validate")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: a YAML 1.2 file.
        overrides: ``a.b.0.c=value`` as given to ``--set``; values are YAML.

    Raises:
        BadInput: one line that names the file and every wrong key, its value and the remedy.
        MissingTool: a named component needs a library that is not installed.
    """
    return parse_recipe(load_document(path, overrides), str(path))


def load_document(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe's plain values, which ``parse_recipe`` checks. Arguments are those of ``load_recipe``.

    Raises:
        BadInput: the file is no mapping in YAML, or an override does not fit it.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such recipe file (looked at {path.resolve()})")
    try:
        document = parse_yaml(read_text(path, RECIPE_BYTES))
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path}: a recipe is a mapping with the keys {', '.join(SECTIONS)}")
    for override in overrides:
        apply_override(document, override)
    return document


def parse_recipe(document: Mapping[str, Any], source: str) -> Recipe:
    """Check plain values; ``source`` opens the error message. Raises as ``load_recipe`` does."""
    reader = _Reader()
    with plugins.naming_code():
        recipe = reader.recipe(document)
    if reader.missing_tools and len(reader.missing_tools) == len(reader.errors):
        raise reader.missing_tools[0]
    if recipe is None or reader.errors:
        raise BadInput(f"{source}: " + "; ".join(reader.errors))
    return recipe


def check_sections() -> dict[str, str]:
    """Key under ``validate`` -> name of the check component."""
    return {plugins.find(Check, name).section: name for name in plugins.names(Check)}


def _resolved(stages: Sequence[tuple[str, Stage]], exports: Sequence[Exporter]) -> dict[str, Any]:
    return {
        "train": next((stage.options() for step, stage in stages if step == "train"), None),
        "compress": [{stage.component_name(): stage.options()} for step, stage in stages if step != "train"],
        "export": [{exporter.component_name(): exporter.options()} for exporter in exports],
    }


class _Reader:
    """Builds components and remembers what was wrong with each."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.missing_tools: list[MissingTool] = []

    def recipe(self, document: Mapping[str, Any]) -> Recipe | None:
        self._known(document, SECTIONS, "")
        name = self._value(document, "name", str, None)
        if isinstance(name, str) and not NAME_PATTERN.fullmatch(name):
            self.errors.append(
                f"name: '{name}' must start with a letter or digit and hold only letters, digits, '_', '-' and '.'"
            )
        seed = self._value(document, "seed", int, 0)
        if isinstance(seed, int) and seed < 0:
            self.errors.append(f"seed: {seed} must be 0 or more")
        license_name = self._value(document, "license", str, "unspecified")

        log = self._log(document.get("log") or [])
        data = self._chosen(document, "data", "dataset", Dataset, {})
        model_keys: dict[str, Any] = {"checkpoint": None, "distance": None}
        architecture = self._chosen(document, "model", "architecture", Architecture, model_keys)
        checkpoint = model_keys["checkpoint"]
        model_keys["distance"] = distance = self._distance(model_keys["distance"], architecture)
        if checkpoint is not None and not isinstance(checkpoint, str):
            self.errors.append(
                f"model.checkpoint: {checkpoint!r} must be a .safetensors file or the folder of a finished run"
            )

        stages: list[tuple[str, Stage]] = []
        if document.get("train") is not None:
            train = self.component(Stage, "train", document["train"], "train")
            if train is not None:
                stages.append(("train", train))
        known_errors = len(self.errors)
        for number, stage in enumerate(self._list(document, "compress", Stage), start=1):
            stages.append((f"{number}-{stage.component_name()}", stage))
        trained = (
            document.get("train") is not None
            or checkpoint is not None
            or (stages and stages[0][1].trains)
            or (architecture is not None and architecture.has_weights())
        )
        if not trained and len(self.errors) == known_errors:
            self.errors.append(
                "train: missing; give it options (or {}), set model.checkpoint to trained weights, take a network "
                "with weights (pretrained: true, weights: FILE), or begin 'compress' with 'distill'"
            )
        exports = self._list(document, "export", Exporter)
        self._no_twins(exports)
        gallery = self._gallery(document.get("gallery"))
        validation = self._validation(document.get("validate") or {})
        self._index(gallery, validation, distance)
        self._noted(lambda: read_space(document.get("tune")))
        self._old_gallery(stages, validation)

        if self.errors or data is None or architecture is None or validation is None or gallery is None:
            return None
        resolved = {
            "name": name,
            "seed": seed,
            "license": license_name,
            **({"log": list(log)} if log else {}),
            "data": {"dataset": data.component_name(), **data.options()},
            "model": {"architecture": architecture.component_name(), **model_keys, **architecture.options()},
            **_resolved(stages, exports),
            "gallery": gallery.options(),
            "validate": {
                **{check.section or check.component_name(): check.options() for check in validation.checks},
                "photos": None if validation.photos is None else validation.photos.options(),
                "runtimes": [{runtime.component_name(): runtime.options()} for runtime in validation.runtimes],
                "gates": dict(validation.gates),
            },
        }
        return Recipe(
            name=name,
            seed=seed,
            license=license_name,
            data=data,
            architecture=architecture,
            checkpoint=Path(checkpoint) if checkpoint else None,
            distance=distance,
            stages=tuple(stages),
            exports=tuple(exports),
            gallery=gallery,
            validation=validation,
            log=log,
            resolved=resolved,
        )

    def component(self, base: type[C], name: str, options: Any, where: str) -> C | None:
        """One component, or None after its errors were noted."""
        from compress.options import build_component

        return self._noted(lambda: build_component(base, name, options, where))

    def _named(self, base: type[C], entry: Any, where: str) -> C | None:
        """``name`` or ``{name: options}``."""
        from compress.options import build_named

        return self._noted(lambda: build_named(base, entry, where))

    def _noted(self, make: Callable[[], T]) -> T | None:
        """The result of ``make``, or None after its errors were noted."""
        from compress.options import BadOptions

        try:
            return make()
        except BadOptions as error:
            self.errors += error.problems
        except MissingTool as error:
            self.errors.append(str(error))
            self.missing_tools.append(error)
        return None

    def _chosen(
        self, document: Mapping[str, Any], section: str, key: str, base: type[C], beside: dict[str, Any]
    ) -> C | None:
        """A section in which ``key`` names the component and the other keys are its options."""
        options = document.get(section)
        if not isinstance(options, Mapping) or not isinstance(options.get(key), str):
            self.errors.append(
                f"{section}: must be a mapping with the key '{key}' ({', '.join(plugins.nameable(base))})"
            )
            return None
        beside.update({name: options[name] for name in beside if name in options})
        rest = {name: value for name, value in options.items() if name != key and name not in beside}
        return self.component(base, options[key], rest, section)

    def _list(self, document: Mapping[str, Any], section: str, base: type[C]) -> list[C]:
        entries = document.get(section) or []
        if not isinstance(entries, list):
            self.errors.append(
                f"{section}: must be a list of 'name: {{options}}' ({', '.join(plugins.nameable(base))})"
            )
            return []
        components = [self._named(base, entry, f"{section}.{number}") for number, entry in enumerate(entries)]
        return [component for component in components if component is not None]

    def _log(self, names: Any) -> tuple[str, ...]:
        if not isinstance(names, list):
            self.errors.append(f"log: {names!r} must be a list of {', '.join(LOGGERS)}")
            return ()
        for name in names:
            if name not in LOGGERS:
                near = plugins.did_you_mean(str(name), list(LOGGERS))
                self.errors.append(f"log: {name!r} is not one of {', '.join(LOGGERS)}{near}")
        return tuple(dict.fromkeys(name for name in names if name in LOGGERS))

    def _gallery(self, options: Any) -> GalleryOptions | None:
        from compress.options import build

        if options is not None and not isinstance(options, Mapping):
            self.errors.append(f"gallery: {options!r} must be a mapping of options")
            return None
        return self._noted(lambda: build(GalleryOptions, options or {}, "gallery"))

    def _index(self, gallery: GalleryOptions | None, validation: Validation | None, distance: Distance) -> None:
        """Refuse an index that cannot search by the model's distance, and an index gate without an index."""
        from validators.gates import INDEX_RECALL

        if gallery is None:
            return
        if gallery.index is None and validation is not None and INDEX_RECALL in validation.gates:
            self.errors.append(f"validate.gates.{INDEX_RECALL}: the gallery has no index; set gallery.index")
        if gallery.index is not None and distance not in gallery.index.distances:
            able = [name for name in plugins.names(Index) if distance in plugins.find(Index, name).distances]
            self.errors.append(
                f"gallery.index: '{gallery.index.component_name()}' cannot search by the model's distance {distance}; "
                f"take {' or '.join(able) or 'none'}"
            )

    def _old_gallery(self, stages: Sequence[tuple[str, Stage]], validation: Validation | None) -> None:
        """Refuse a gate on the old model's gallery without an old model."""
        from validators.gates import OLD_GALLERY_GAIN

        named = any(stage.options().get("compatible_with") is not None for _, stage in stages)
        if validation is not None and OLD_GALLERY_GAIN in validation.gates and not named:
            self.errors.append(f"validate.gates.{OLD_GALLERY_GAIN}: there is no old model; set train.compatible_with")

    def _distance(self, given: Any, architecture: Architecture | None) -> Distance:
        """The recipe's distance, or the architecture's default if the recipe gives none."""
        known = DISTANCES if architecture is None else architecture.distances
        if given is None:
            return known[0]
        chosen = next((distance for distance in known if distance == given), None)
        if chosen is None:
            name = "" if architecture is None else f" for {architecture.component_name()}"
            self.errors.append(f"model.distance: {given!r} must be one of {', '.join(known)}{name}")
        return chosen or known[0]

    def _validation(self, section: Any) -> Validation | None:
        if not isinstance(section, Mapping):
            self.errors.append(f"validate: {section!r} must be a mapping")
            return None
        checks = check_sections()
        offered = [name for name in plugins.nameable(Check) if name not in checks.values()]
        foreign = {str(key): str(key) for key in section if str(key) in offered or plugins.is_code(str(key))}
        self._known(section, (*checks, *foreign, "photos", "runtimes", "gates"), "validate.", offered)
        named = {**checks, **foreign}
        built = [self.component(Check, name, section.get(key), f"validate.{key}") for key, name in named.items()]
        runtimes = self._list({"validate.runtimes": section.get("runtimes")}, "validate.runtimes", Runtime)
        gates = section.get("gates") or {}
        if not isinstance(gates, Mapping) or not all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in gates.values()
        ):
            self.errors.append(f"validate.gates: {gates!r} must map gate names to numbers")
        else:
            from validators.gates import OWN_CHECKS, check_names, short_name

            try:
                gates = {short_name(str(name)): limit for name, limit in gates.items()}
                check_names(gates)
                gates = {**({OWN_CHECKS: 0} if foreign else {}), **gates}
            except BadInput as error:
                self.errors.append(f"validate.gates: {error}")
        photos = self._photos(section.get("photos"), gates)
        if None in built or self.errors:
            return None
        return Validation(
            checks=tuple(check for check in built if check is not None),
            runtimes=tuple(runtimes),
            gates={name: float(limit) for name, limit in gates.items()},
            photos=photos,
        )

    def _photos(self, options: Any, gates: Mapping[str, Any]) -> PhotoOptions | None:
        from compress.options import build

        if options is not None and not isinstance(options, Mapping):
            self.errors.append(f"validate.photos: {options!r} must be a mapping of options")
            return None
        if options is None:
            if "photo_mAP_drop" in gates:
                self.errors.append("validate.gates.photo_mAP_drop: nothing measures it; add 'photos: {}' to validate")
            return None
        return self._noted(lambda: build(PhotoOptions, options, "validate.photos"))

    def _no_twins(self, exports: Sequence[Exporter]) -> None:
        """Refuse two exports of one format and precision, because they would be one file."""
        seen: set[tuple[str, str]] = set()
        for number, exporter in enumerate(exports):
            if (twin := (exporter.component_name(), exporter.precision)) in seen:
                self.errors.append(f"export.{number}: {twin[0]} with precision {twin[1]} is listed twice; remove one")
            seen.add(twin)

    def _known(self, mapping: Mapping[str, Any], known: Sequence[str], prefix: str, more: Sequence[str] = ()) -> None:
        """Note every key that is not known; ``more`` are keys that would be."""
        for key in mapping:
            if key not in known:
                there = list(dict.fromkeys((*known, *more)))
                near = plugins.did_you_mean(str(key), there)
                self.errors.append(f"{prefix}{key}: unknown key{near} (there are: {', '.join(there)})")

    def _value(self, document: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
        value = document.get(key, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.errors.append(
                f"{key}: missing"
                if value is None
                else f"{key}: {value!r} must be {'text' if kind is str else 'a whole number'}"
            )
            return None
        return value
