"""Save and load weights together with their architecture (safetensors, one JSON header entry)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, StrictBool, StrictInt, ValidationError, field_validator

from compress.contracts import Architecture, BadInput, EmbeddingSpec, Model, Preprocess
from compress.options import build_component, tuples
from compress.system.bounded_reading import parse_json
from compress.system.files import atomic

if TYPE_CHECKING:
    from torch import nn

_HEADER = "compress"


class _Description(BaseModel):
    """The JSON header; fields that older versions did not write have defaults."""

    architecture: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    embedding: EmbeddingSpec
    history: tuple[dict[str, Any], ...]
    pruned: dict[str, dict[str, StrictInt | StrictBool]] = {}
    space: str | None = None
    ranges: dict[str, tuple[float, float]] = {}

    @field_validator("preprocess")
    @classmethod
    def _of_a_size_that_recipes_allow(cls, preprocess: Preprocess) -> Preprocess:
        if not all(8 <= side <= 2048 for side in preprocess.size):
            raise ValueError(f"images of {preprocess.size} pixels")
        return preprocess


def save_model(model: Model, path: Path) -> None:
    """Write ``path`` atomically; the same model gives the same bytes."""
    from safetensors.torch import save

    description = {
        "architecture": model.architecture.component_name(),
        "options": model.architecture.options(),
        "classes": list(model.classes),
        "preprocess": asdict(model.preprocess),
        "embedding": asdict(model.embedding),
        "pruned": {layer: dict(values) for layer, values in model.pruned.items()},
        "history": [dict(line) for line in model.history],
        "space": model.space,
        "ranges": {value: list(limits) for value, limits in model.ranges.items()},
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    # One header entry: safetensors writes several in the random order of a hash map.
    payload = save(tensors, metadata={_HEADER: json.dumps(description, sort_keys=True)})
    with atomic(path) as unfinished:
        unfinished.write_bytes(payload)


def read_description(path: Path) -> dict[str, Any]:
    """Read the JSON header of a checkpoint, without its weights.

    Raises:
        BadInput: there is no such file, or Compress did not write it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadInput(f"model.checkpoint: no file at {path.resolve()}")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: not a readable safetensors file ({error})") from error
    if header is None:
        raise BadInput(f"{path}: this safetensors file was not written by Compress (no '{_HEADER}' header)")
    try:
        # A training that diverged leaves NaN in its history.
        found = _Description.model_validate(parse_json(header, finite=False))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadInput(f"{path}: damaged (header '{_HEADER}', {where}: {problem['msg']})") from error
    except ValueError as error:
        raise BadInput(f"{path}: damaged (header '{_HEADER}': {error})") from error
    return found.model_dump()


def load_model(path: Path) -> Model:
    """Build the architecture named in the file and load its weights.

    Raises:
        BadInput: the file is missing, damaged, or its weights do not fit its architecture.
    """
    from architectures._limits import require_sane_size
    from compress.pruning.shapes import restore_shapes

    description = read_description(path)
    architecture = build_component(Architecture, description["architecture"], description["options"], str(path))
    classes = tuple(description["classes"])
    require_sane_size(architecture, len(classes))
    network = architecture.bare().build(len(classes))
    restore_shapes(network, description.get("pruned", {}))
    load_weights(network, path)
    return Model(
        architecture=architecture,
        network=network,
        classes=classes,
        preprocess=Preprocess(**tuples(description["preprocess"])),
        embedding=EmbeddingSpec(**description["embedding"]),
        history=tuple(description["history"]),
        pruned=description.get("pruned", {}),
        space=description.get("space"),
        ranges=tuples(description.get("ranges", {})),
    )


def last_checkpoint(folder: Path) -> Path:
    """Find the checkpoint with the final weights of a finished run.

    Raises:
        BadInput: no run has finished in this folder.
    """
    if not (folder / "bundle.json").is_file():
        raise BadInput(f"{folder.resolve()}: no finished run (no bundle.json); run its recipe to the end first")
    # The steps are 'train' or 'initial', then '1-distill', '2-prune' and so on.
    numbers = {path: path.stem.partition("-")[0] for path in (folder / "checkpoints").glob("*.safetensors")}
    if not numbers:
        raise BadInput(f"{folder.resolve()}: its checkpoints are missing; rerun its recipe")
    return max(numbers, key=lambda path: int(numbers[path]) if numbers[path].isdigit() else 0)


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a recipe names: a file, or the last one of a finished run's folder. Raises BadInput."""
    return last_checkpoint(path) if path.is_dir() else path


def load_weights(network: nn.Module, path: Path, *, skip_classifier: bool = False) -> None:
    """Copy the checkpoint's tensors into ``network`` (``skip_classifier``: all but the classifier's).

    Raises:
        BadInput: a tensor is missing, left over or of another shape; the message names the first.
    """
    from safetensors.torch import load_file

    stored, own = load_file(path), network.state_dict()
    if skip_classifier:
        stored = {name: t for name, t in stored.items() if not name.startswith("classifier.")}
        own = {name: t for name, t in own.items() if not name.startswith("classifier.")}
    for name in sorted(stored.keys() | own.keys()):
        here, there = own.get(name), stored.get(name)
        if here is None or there is None or here.shape != there.shape:
            sizes = [list(t.shape) if t is not None else "nothing" for t in (there, here)]
            raise BadInput(
                f"{path}: '{name}' holds {sizes[0]}, the recipe's model needs {sizes[1]}; "
                "check model.architecture and its options"
            )
    network.load_state_dict(stored, strict=not skip_classifier)
