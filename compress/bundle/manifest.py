"""bundle.json, the manifest of a bundle: its types, its one reader, and what failed in it.

``SCHEMA`` goes up when an app that reads today's keys would break: a key is removed, renamed or changes its meaning. An
added key leaves it as it is. Every version of Compress reads all older numbers, and refuses keys that it does not know,
since ``verify`` answers for the whole file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError

from compress.contracts import BadInput, Distance, EmbeddingKind, EmbeddingSpec, Preprocess
from compress.system.bounded_reading import JSON_BYTES, parse_json, read_text
from compress.system.files import artifact_sha256
from compress.system.path_containment import relative, require_plain
from validators import suffix_of
from validators.results import Execution, Gate, Measured, Part, SourceScores, Upgrade

SCHEMA = 1
MANIFEST = "bundle.json"


BundlePath = Annotated[str, AfterValidator(relative)]
"""A path relative to the bundle's folder, with forward slashes."""


class ArchitectureEntry(Part):
    """The network, with its sizes as ``architectures.Complexity`` counts them.

    Attributes:
        name, options: as in a recipe.
        params: number of parameters.
        macs: multiply-accumulates for one image.
        paper_flops, paper_params: OMCBIR's equations 5 and 6.
        macs_with_batch_norm: macs and 4 operations for each value that batch normalisation passes on.
        input: height and width in pixels.
        pruned: convolution -> its output channels as built and as pruning left them, of those that lost any.
    """

    name: str
    options: dict[str, Any]
    params: int
    macs: int
    paper_flops: int
    paper_params: int
    macs_with_batch_norm: int
    input: tuple[int, int]
    pruned: dict[str, tuple[int, int]]


class EmbeddingEntry(Part):
    """The output of every artifact.

    Attributes:
        dim: number of values.
        kind: ``float``, ``binary`` or ``local``.
        distance: the distance by which two embeddings are compared.
        space_id: name of the embedding space; embeddings of different spaces must not be compared.
    """

    dim: int
    kind: EmbeddingKind
    distance: Distance
    space_id: str

    @property
    def spec(self) -> EmbeddingSpec:
        return EmbeddingSpec(self.dim, self.kind, self.distance)


class PreprocessEntry(Part):
    """How an app turns a photograph into the artifact's input.

    Attributes:
        color: order of the channels.
        resize: height and width in pixels.
        crop: ``center`` cuts out the centre, ``none`` resizes without keeping the aspect ratio, ``pad`` resizes the
            longer side and centres the image on the colour round(255 mean).
        mean, std: mean and standard deviation of the normalisation; the artifact normalises.
        interpolation, antialias: how the image is resized.
        folded: the artifact normalises its input.
    """

    color: Literal["RGB"]
    resize: tuple[int, int]
    crop: Literal["none", "center", "pad"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear"]
    antialias: bool
    folded: Literal[True]

    @property
    def value(self) -> Preprocess:
        return Preprocess(self.resize, self.crop, self.mean, self.std, self.color, self.interpolation, self.antialias)


class DataEntry(Part):
    """The images of a run.

    Attributes:
        dataset: name of the data set in a recipe.
        images: number of images that were used.
        classes: number of classes.
        duplicates: number of images left out as copies of others.
        skipped: file or folder that is not a readable image -> reason.
        in_two_classes: pairs of files with the same content and different classes; absent in the first bundles.
        never_tested: classes with training images but no query; absent in the first bundles.
        splits: split -> number of images.
    """

    left_out = frozenset({"in_two_classes", "never_tested"})

    dataset: str
    images: int
    classes: int
    duplicates: int
    skipped: dict[str, str]
    in_two_classes: tuple[tuple[str, str], ...] | None = None
    never_tested: tuple[str, ...] | None = None
    splits: dict[str, int]


class Stored(Part):
    """The number types that a file stores and computes with.

    Attributes:
        weights: type -> number of weights.
        activations: type of their input -> number of weighted operations.
    """

    weights: dict[str, int]
    activations: dict[str, int]


class PyTorchMobile(Part):
    """Whether PyTorch Mobile 2.1 could load a TorchScript file.

    Attributes:
        file_version: version of the format; None if the file could not be read.
        bytecode_version: version of the lite interpreter's bytecode; None if the file has none.
        operators: operators that the file uses.
        problems: why PyTorch Mobile would refuse the file, one line each.
    """

    file_version: int | None
    bytecode_version: int | None
    operators: tuple[str, ...]
    problems: tuple[str, ...]


class Calibration(Part):
    """The training images on which the ranges of activations were measured.

    Attributes:
        images: number of images.
        sha256: sha256 of their pixels.
    """

    images: int
    sha256: str


class FileEntry(Part):
    """One exported file or, for .mlpackage, folder. Keys that a format does not have are absent from bundle.json.

    Attributes:
        path: path of the file in the bundle.
        format: file format, such as ``onnx``.
        precision: precision of weights and activations, such as ``fp32``.
        bytes: size of the file.
        sha256: sha256 of the file; the sha256 of a folder is explained above.
        pytorch_mobile: whether PyTorch Mobile could load a TorchScript file.
        stored: types of its weights and activations.
        minimum_ios: oldest version that runs a Core ML file.
        quantization: how the exporter rounded it.
        plan: location in the network -> the variant of its operations that the exporter chose.
        calibration: images on which the ranges of activations were measured.
    """

    left_out = frozenset({"pytorch_mobile", "stored", "minimum_ios", "quantization", "plan", "calibration"})

    path: BundlePath
    format: str
    precision: str
    bytes: int
    sha256: str
    pytorch_mobile: PyTorchMobile | None = None
    stored: Stored | None = None
    minimum_ios: int | None = None
    quantization: Any = None
    plan: dict[str, str] | None = None
    calibration: Calibration | None = None

    @property
    def mobile_problems(self) -> tuple[str, ...] | None:
        """Why PyTorch Mobile would refuse a TorchScript file; None for another format."""
        return None if self.pytorch_mobile is None else self.pytorch_mobile.problems

    @property
    def suffix(self) -> str:
        """The file's suffix with its dot, such as ``.tflite``."""
        return suffix_of(self.path)


class Entry(Execution, FileEntry):
    """One file executed on one runtime."""

    left_out = FileEntry.left_out | Execution.left_out


class ArtifactEntry(Entry):
    """One file on the best runtime, and on the other runtimes that the recipe names.

    Attributes:
        other_runtimes: the same file on each other runtime.
    """

    other_runtimes: tuple[Execution, ...]

    def entries(self) -> Iterator[Entry]:
        """The file on each of its runtimes, the best one first."""
        file = {name: getattr(self, name) for name in FileEntry.model_fields}
        for execution in (self, *self.other_runtimes):
            yield Entry(**file, **{name: getattr(execution, name) for name in Execution.model_fields})


class IndexLatency(Part):
    """Times of an index, in milliseconds.

    Attributes:
        build: to build the index.
        query: for one query with the index.
        exact: for one query without it.
        threads: always one.
    """

    build: float
    query: float
    exact: float
    threads: int


class IndexMeasurement(Part):
    """Size, recall and times of one index.

    Attributes:
        images: number of gallery images in the index.
        bytes: size of the index.
        recall@10: share of a query's 10 nearest images that the index finds.
        latency_ms: times of the index.
    """

    images: int
    bytes: int
    recall: Measured = Field(validation_alias="recall@10", serialization_alias="recall@10")
    latency_ms: IndexLatency


class ExhaustiveGallery(Part):
    """A gallery that is searched image by image.

    Attributes:
        images: number of images in the bundle's gallery.
        of: number of images in the data set's gallery.
        index: null.
    """

    images: int
    of: int
    index: None


class IndexedGallery(IndexMeasurement):
    """A gallery with an index.

    Attributes:
        of: number of images in the data set's gallery.
        index, options: as in a recipe.
        path: path of the index in the bundle.
        queries: number of held-out queries used for the measurement.
        golden_recall@10: share of the golden images' neighbours that the index finds.
        whole_gallery: the same index over all images, if the bundle holds only some of them.
        gates: the limit on its recall.
    """

    of: int
    index: str
    options: dict[str, Any]
    path: BundlePath
    queries: int
    golden_recall: Measured = Field(validation_alias="golden_recall@10", serialization_alias="golden_recall@10")
    whole_gallery: IndexMeasurement | None
    gates: tuple[Gate, ...]


def _kind(gallery: Any) -> str:
    index = gallery.get("index") if isinstance(gallery, dict) else getattr(gallery, "index", None)
    return "exhaustive" if index is None else "indexed"


GalleryEntry = Annotated[
    Annotated[ExhaustiveGallery, Tag("exhaustive")] | Annotated[IndexedGallery, Tag("indexed")], Discriminator(_kind)
]


class Control(Part):
    """A negative control: a broken model, judged with the limits of one precision.

    Attributes:
        name: what is broken.
        precision: the precision whose limits are used.
        failed_gates: names of the gates that failed, as they should.
        caught: whether at least one gate failed.
    """

    name: str
    precision: str
    failed_gates: tuple[str, ...]
    caught: bool


class Manifest(Part):
    """The content of a bundle, with everything that was measured.

    Attributes:
        schema: goes up when an app that reads today's keys would break; an added key leaves it as it is.
        name: name of the recipe.
        created_by: library -> its version.
        recipe_sha256: sha256 of recipe.yaml.
        license: licence of the photographs.
        architecture: the network.
        embedding: the output of every artifact.
        preprocess: the input of every artifact.
        data: the images.
        source: the PyTorch model's metrics.
        artifacts: every exported file.
        gallery: the images to search in.
        controls: broken models, which the gates must catch.
        compatibility: artifact that made the gallery -> artifact that makes the queries -> mAP, by the names of
            ``compared``; ``pytorch``, ``teacher`` and ``old`` are no files.
        upgrade: what becomes of the old model's galleries; absent unless ``train.compatible_with`` names one.
        files: every other file of the bundle -> its sha256.
        checksum: sha256 of all other values of this file, as canonical JSON (sorted keys, no spaces).
    """

    left_out = frozenset({"checksum", "upgrade"})

    schema_number: int = Field(validation_alias="schema", serialization_alias="schema")
    name: str
    created_by: dict[str, str]
    recipe_sha256: str
    license: str
    architecture: ArchitectureEntry
    embedding: EmbeddingEntry
    preprocess: PreprocessEntry
    data: DataEntry
    source: SourceScores
    artifacts: tuple[ArtifactEntry, ...]
    gallery: GalleryEntry
    controls: tuple[Control, ...]
    compatibility: dict[str, dict[str, Measured]]
    upgrade: Upgrade | None = None
    files: dict[BundlePath, str]
    checksum: str | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every file on every runtime that it was checked on."""
        return tuple(entry for artifact in self.artifacts for entry in artifact.entries())

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per failed gate, and per negative control that no gate caught."""
        lines = [*failed_gates(self.entries)]
        if isinstance(self.gallery, IndexedGallery):
            lines += [failed_line(self.gallery.path, gate) for gate in self.gallery.gates if not gate.passed]
        if self.upgrade is not None:
            lines += [failed_line("the old gallery", gate) for gate in self.upgrade.gates if not gate.passed]
        return (*lines, *uncaught(self.controls))


def compared(artifact: ArtifactEntry) -> dict[str, str]:
    """Runtime -> the name in ``compatibility``, for each kind of processor on which the artifact was executed.

    The first runtime has the artifact's path; runtimes on another processor, such as a phone's, have
    ``PATH on RUNTIME``, because the same file gives other values there. Runtimes on the same processor are left out,
    and so are phones, whose measurements bring no features.
    """
    names: dict[str, str] = {}
    processors: set[str | None] = set()
    for entry in artifact.entries():
        if entry.device is None and entry.evidence != "not-run" and entry.processor not in processors:
            processors.add(entry.processor)
            names[entry.runtime] = f"{entry.path} on {entry.runtime}" if names else entry.path
    return names


def failed_gates(entries: Iterable[Entry]) -> Iterator[str]:
    """One line per failed gate: file, runtime, gate, value and limit."""
    for entry in entries:
        yield from (failed_line(f"{entry.path} on {entry.runtime}", gate) for gate in entry.failed)


def uncaught(controls: Iterable[Control]) -> Iterator[str]:
    """One line per negative control that passed the gates of every precision.

    A coarse precision may miss a control that moves features less than its own rounding does, such as swapped colours
    for a network that was trained on grey images, if a finer precision of the same run catches it.
    """
    controls = tuple(controls)
    caught = {control.name for control in controls if control.caught}
    for control in controls:
        if control.name not in caught:
            yield (
                f"control {control.name}: passed every {control.precision} gate, so these gates prove nothing; tighten "
                "validate.gates"
            )


def failed_line(what: str, gate: Gate) -> str:
    """Describe one failed gate: artifact, value and limit."""
    value = "not a number" if gate.value is None else f"{gate.value:.6g}"
    return f"{what}: {gate.name} {value}, limit {gate.limit:.6g}"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle.

    Raises:
        BadInput: the manifest is missing, damaged, or written by a newer Compress.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(f"{folder}: no {MANIFEST} here; give the folder that 'compress run' made")
    require_plain(folder)
    try:
        text = read_text(path, JSON_BYTES)
        number = parse_json(text)["schema"]
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error})") from error
    except (TypeError, KeyError) as error:
        raise BadInput(f"{path}: damaged (no schema number)") from error
    if not isinstance(number, int):
        raise BadInput(f"{path}: damaged (no schema number)")
    if number > SCHEMA:
        raise BadInput(f"{path}: schema {number} is newer than {SCHEMA}, all this Compress reads; upgrade it")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadInput(f"{path}: damaged ({where}: {problem['msg']})") from error


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash each file below ``names`` (files or folders of the bundle): relative path -> sha256, sorted."""
    files = [
        file
        for name in names
        for file in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if file.is_file()
    ]
    return {file.relative_to(folder).as_posix(): artifact_sha256(file) for file in sorted(files)}


def json_schema() -> dict[str, Any]:
    """The JSON schema of bundle.json (draft 2020-12)."""
    schema = Manifest.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
