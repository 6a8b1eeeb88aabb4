"""Every value and base class that crosses a folder.

This file imports no project code and no heavy library, so that ``compress --help``, a recipe check and the
child process of an old runtime can all load it. Array shapes use N images, H height, W width, D embedding
dimensions, Q queries, G gallery images, P probe images.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le, Lt

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

Distance = Literal["l2", "cosine", "hamming", "local"]
EmbeddingKind = Literal["float", "binary", "local"]
Evidence = Literal["native", "older-runtime", "reference", "not-run"]
Optimize = Literal["speed", "size", "none", "measured"]
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
"""``mean`` and ``std`` of ``Preprocess``."""

# Options that several data sets share, with their limits; mean and std are per RGB channel for values in [0, 1].
ImageSize = Annotated[int, Ge(8), Le(2048)]
ChannelMean = tuple[Annotated[float, Ge(0), Le(1)], Annotated[float, Ge(0), Le(1)], Annotated[float, Ge(0), Le(1)]]
ChannelStd = tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]]
TestShare = Annotated[float, Gt(0), Lt(1)]

LOCAL_DIM = 40
"""Values that describe one local feature; an embedding of kind ``local`` has 43 for each: these, y, x and the score."""


# ---------------------------------------------------------------------------------------------------- errors


class CompressError(Exception):
    """An error a user can act on. The message is one line: file, key, value, remedy."""

    exit_code: ClassVar[int] = 1


class BadInput(CompressError):
    """A recipe, data set, checkpoint or bundle is wrong (exit code 2)."""

    exit_code = 2


class MissingTool(CompressError):
    """The machine lacks a library, a data set download or an operating system (exit code 3)."""

    exit_code = 3


# ------------------------------------------------------------------------------------------------ components


@dataclass(frozen=True, kw_only=True)
class Component:
    """Something a recipe names: the fields are its options, its one method does the work.

    A component lives alone in ``<folder>/<name>.py``; the file's name is the name recipes use.
    """

    @classmethod
    def component_name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    def options(self) -> dict[str, Any]:
        """The options as plain JSON values, in the order of the fields."""
        plain = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            plain[f.name] = value.options() if "only" in f.metadata and value is not None else _plain(value)
        return plain


def component_field(kind: str, default: str | None) -> Any:
    """A field that holds another component, or, where ``default`` is None, may: recipes give ``{name: {options}}``.

    A name alone will do. Only ``compress.options.build`` fills in ``default``, because sibling folders do not import
    each other.
    """
    metadata = {"kind": kind, "default": default}
    return field(metadata=metadata) if default is not None else field(default=None, metadata=metadata)


def only_field(kind: str, name: str) -> Any:
    """An optional field that holds the component ``name``: recipes give its options, or nothing for None."""
    return field(default=None, metadata={"kind": kind, "only": name, "default": None})


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return {value.component_name(): value.options()}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


# ------------------------------------------------------------------------------------------------------ data


@dataclass(frozen=True)
class Preprocess:
    """How a photograph becomes the uint8 RGB image an artifact takes, and the normalisation inside the artifact.

    Attributes:
        size: (H, W) in pixels.
        crop: ``none`` squashes the whole image to ``size``; ``center`` resizes the shorter side, then cuts
            the centre.
        mean: per RGB channel, for values scaled to [0, 1].
        std: per RGB channel, for values scaled to [0, 1].
    """

    size: tuple[int, int]
    crop: Literal["none", "center"] = "none"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    color: Literal["RGB"] = "RGB"
    interpolation: Literal["bilinear"] = "bilinear"
    antialias: bool = True


class ImageArray(Protocol):
    """uint8 RGB images at the recipe's size: a NumPy array, or files decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any:
        """Images uint8 [n, H, W, 3] for a slice or an int64 array of n indices."""


@dataclass(frozen=True)
class ImageSet:
    """One split, decoded: ``images`` uint8 [N, H, W, 3], ``labels`` int64 [N], ``ids`` unique names."""

    images: ImageArray
    labels: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Boxed:
    """A part of an image file: ``box`` is (left, top, right, bottom) in pixels of the file, before EXIF turns it."""

    path: Path
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Samples:
    """One split as a data set finds it, before decoding.

    Attributes:
        images: uint8 [N, h, w] or [N, h, w, 3], or the N files, or parts of files, to decode.
        labels: int64 [N], indices into ``Splits.classes``.
        ids: unique names, stable between machines (paths relative to the data set's root, or split/number).
    """

    images: np.ndarray | Sequence[Path | Boxed]
    labels: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class GroundTruth:
    """Which gallery images answer each of Q queries, listed one by one, where labels do not tell.

    Attributes:
        relevant: for each query int64 [R], gallery indices, ascending. A query without any is left out and counted.
        junk: for each query int64, gallery indices, ascending, none of them relevant: they leave the ranking before
            anything is counted, as does the query's own image where the gallery holds it.
        form: of average precision: ``trapezoid`` as the Oxford code computes it, ``step`` as everyone else.
    """

    relevant: tuple[np.ndarray, ...]
    junk: tuple[np.ndarray, ...]
    form: Literal["step", "trapezoid"] = "step"

    def among(self, queries: np.ndarray, gallery: np.ndarray) -> GroundTruth:
        """That of some queries in a part of the gallery: int64 indices, the gallery's ascending."""

        def kept(rows: np.ndarray) -> np.ndarray:
            places = gallery.searchsorted(rows)
            found: np.ndarray = places[gallery.searchsorted(rows, "right") > places]
            return found

        relevant, junk = ([kept(rows[query]) for query in queries] for rows in (self.relevant, self.junk))
        return GroundTruth(tuple(relevant), tuple(junk), self.form)


@dataclass(frozen=True)
class Splits:
    """A data set's images before decoding.

    Attributes:
        classes: every name that a label may have, in whichever split. The classifier has one output for each, also for
            those that never train, which only the gallery and the reports name.
        train: may hold none of the classes of ``test``, see ``Data.open_set``; or no image: only for tests.
        test: the queries, and the gallery as well where there is no other.
        duplicates: exact copies that were left out.
        gallery: the images searched in; None: the test images, each query leaving itself out (leave-one-out). It may
            hold training images again, under the same ids, as the protocols of deep hashing do, but no query unless
            ``ground_truths`` say what is relevant.
        ground_truths: by setting, for instance Easy, Medium and Hard; indices into ``test`` and ``gallery``, which must
            be there. The first one is what metrics without a suffix mean. Empty: a gallery image is relevant where its
            label is the query's.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples
    duplicates: int = 0
    gallery: Samples | None = None
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What stages and checks see.

    Attributes:
        train: images that update weights.
        validation: images that choose the best weights (the test images themselves where the recipe says
            ``validation_share: 0``, as the papers do); with ``open_set`` all images of some classes that do not train.
        queries: the held-out images that are searched with.
        gallery: the images searched in; the same object as ``queries`` means leave-one-out. It may hold training
            images, where the data set's protocol has them in its database.
        skipped: files that could not be decoded, with the reason.
        fingerprint: sha256 over every pixel, label and the preprocessing.
        open_set: no class of the queries is among the training classes. A classifier cannot name them, so the best
            weights are those that rank best: search ``validation`` leave-one-out and take the mAP, not the accuracy.
        ground_truths: what is relevant to the queries, by setting; as in ``Splits``.
    """

    dataset: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    queries: ImageSet
    gallery: ImageSet
    preprocess: Preprocess
    duplicates: int
    skipped: Mapping[str, str]
    fingerprint: str
    open_set: bool = False
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)

    @property
    def leave_one_out(self) -> bool:
        return self.gallery is self.queries


# ----------------------------------------------------------------------------------------------------- model


@dataclass(frozen=True)
class EmbeddingSpec:
    """What an artifact puts out. ``distance`` cosine means L2-normalised inside the graph.

    Kind ``local`` is L local features one after the other, as ``validators.local_matching`` unpacks and compares them;
    its distance is ``local``.
    """

    dim: int
    kind: EmbeddingKind = "float"
    distance: Distance = "l2"

    @classmethod
    def of(cls, dim: int, distance: Distance) -> EmbeddingSpec:
        """The embedding of the kind that a distance is defined on."""
        kinds: dict[Distance, EmbeddingKind] = {"hamming": "binary", "local": "local"}
        return cls(dim, kinds.get(distance, "float"), distance)


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to build it again, use it and say where it came from.

    Attributes:
        network: forward(normalised float32 [N, 3, H, W]) gives logits [N, classes] when it has a classifier,
            embeddings [N, D] when headless; ``network.embed`` always gives embeddings.
        history: one JSON object per epoch and stage, in order.
        pruned: what ``architecture.build`` must be told to give the network's shapes: layer name -> attribute -> value.
            Empty where nothing was removed.
        space: ``space_id`` of the teacher whose embedding space the network was taught; None: a space of its own.
        ranges: smallest and largest value that 8-bit files are to store, by node of ``compress.quantization``; learnt
            with these weights. Empty where calibration is to find them.
    """

    architecture: Architecture
    network: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    embedding: EmbeddingSpec
    history: tuple[Mapping[str, Any], ...] = ()
    pruned: Mapping[str, Mapping[str, int | bool]] = field(default_factory=dict)
    space: str | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch: embeddings float32 [N, D] as retrieval compares them, logits [N, classes]."""

    embeddings: torch.Tensor
    logits: torch.Tensor


# ----------------------------------------------------------------------------------------- component families


@dataclass(frozen=True, kw_only=True)
class Architecture(Component):
    """A network family.

    Class attributes:
        distances: how its embeddings may be compared; the first is the default.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("l2", "cosine")

    def build(self, num_classes: int = 0) -> nn.Module:
        """An ``architectures.RetrievalNetwork`` in training mode, its weights fresh or, by an option, pretrained.

        ``num_classes`` 0 leaves the classifier away.

        Raises:
            MissingTool: pretrained weights that the options ask for cannot be had here.
        """
        raise NotImplementedError

    def bare(self) -> Architecture:
        """The same network without pretrained weights, to be filled with others: nothing is read or fetched."""
        return dataclasses.replace(self, **{name: trunk.bare() for name, trunk in self._trunks().items()})

    def normalisation(self) -> Normalisation | None:
        """What the images of its pretrained weights were normalised with; None where all weights are fresh."""
        return next((found for trunk in self._trunks().values() if (found := trunk.normalisation())), None)

    def _trunks(self) -> dict[str, Architecture]:
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, Architecture)}


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """A source of labelled images.

    Attributes:
        root: the folder that holds the data set.
        image_size: height and width in pixels of what the network sees.
        crop: ``none`` squashes, ``center`` keeps the aspect ratio and cuts the centre.
        mean, std: normalisation per RGB channel for values in [0, 1].
        validation_share: share of the training images held out to choose the best weights; 0 chooses on the
            test images, as the papers do.
        max_skipped_share: the run stops when more than this share of the images cannot be decoded.
        cache: ``disk`` decodes every file once into a memory-mapped array under the user's cache folder,
            ``none`` decodes in worker threads each epoch.

    Class attributes:
        images_license: of the pictures themselves, where their authors state one; None leaves it to the recipe.
    """

    images_license: ClassVar[str | None] = None

    root: str = "data"
    image_size: ImageSize = 128
    crop: Literal["none", "center"] = "none"
    mean: ChannelMean = (0.485, 0.456, 0.406)
    std: ChannelStd = (0.229, 0.224, 0.225)
    validation_share: Annotated[float, Ge(0), Lt(1)] = 0.1
    max_skipped_share: Annotated[float, Ge(0), Le(1)] = 0.01
    cache: Literal["disk", "none"] = "disk"

    def splits(self, seed: int) -> Splits:
        """Find the images. Raises BadInput saying where it looked and how to get the data set."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A training objective.

    Class attributes:
        distance: by which embeddings trained with it must be compared; None: by any.
        classifies: whether it teaches the network's classifier. Where it does not, accuracy says nothing, and the best
            weights are those that rank best.
    """

    distance: ClassVar[Distance | None] = None
    classifies: ClassVar[bool] = True

    def check(self, network: nn.Module) -> None:
        """Raises BadInput for a network whose embeddings or logits are not what the loss is defined on."""

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        """A module called as ``loss(embeddings [N, D], logits [N, C], labels int64 [N])`` -> scalar."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Objective(Component):
    """What a student is to have in common with its teacher.

    Attributes:
        weight: factor of this term in the sum that training minimises.
    """

    weight: Annotated[float, Ge(0)] = 1.0

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        """Refuse a pair of models that the objective is not defined on.

        ``shared_space``: the student's embeddings are to be searched for among the teacher's.

        Raises:
            BadInput: with the remedy.
        """

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        """A module called as ``objective(student: Outputs, teacher: Outputs)`` -> scalar; its parameters are learnt."""
        raise NotImplementedError


Latencies = Callable[[Sequence[Model]], list[float]]
"""Milliseconds of processor time for one image, on one thread, of each model's fp32 file, measured in turn."""


@dataclass(frozen=True, kw_only=True)
class Stage(Component):
    """Model -> model: train, distil, prune, …

    Class attributes:
        trains: whether fresh weights leave the stage trained.
    """

    trains: ClassVar[bool] = False

    def check(self, model: Model) -> Model:
        """Refuse, before anything runs, options that do not fit; the model as later stages will find it.

        ``model`` has the right shapes and any weights.

        Raises:
            BadInput: the stage could not do what its options say.
        """
        return model

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """The improved model.

        ``scratch`` is a folder of the stage's own that survives a kill: a stage that finds its earlier
        progress there goes on from it and must end with the same weights.
        """
        raise NotImplementedError

    def measures(self) -> str | None:
        """The exporter of the files whose latency the stage needs; None where it needs none, or has what it found."""
        return None

    def measured(self, model: Model, data: Data, latencies: Latencies) -> Stage:
        """The stage with what it measures filled into its options, where ``measures`` names a format.

        Raises:
            BadInput: what the options ask for cannot be reached.
        """
        return self

    def inputs(self) -> Mapping[str, str]:
        """sha256 of each file the options name; with other contents a finished stage runs again."""
        return {}

    def space_of(self) -> Model | None:
        """The model in whose embedding space this stage's lives; None: in its own."""
        return None


@dataclass(frozen=True)
class Artifact:
    """An exported file or folder.

    Attributes:
        details: further keys of its entry in bundle.json: what ``Exporter.details`` gave, and ``calibration``.
    """

    path: Path
    format: str
    precision: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearnedRange:
    """One of ``Model.ranges``.

    Attributes:
        fingerprint: float64 [n, 19], by which the exporters recognise the value in a converted file.
    """

    name: str
    low: float
    high: float
    fingerprint: np.ndarray


@dataclass(frozen=True)
class DeployGraph:
    """What exporters write: uint8 RGB -> normalise -> network -> (L2) -> embedding.

    Attributes:
        module: forward(image uint8 [N, 3, H, W], or float32 holding 0-255) -> embedding float32 [N, D]; eval
            mode, batch normalisation folded, classifier removed.
        input_size: (H, W).
        metadata: flat JSON object written into the file where the format has room.
        calibration: uint8 [N, H, W, 3], for the precisions that measure activation ranges; None for the others.
        learned: ranges that replace measured ones.
    """

    module: nn.Module
    input_size: tuple[int, int]
    metadata: Mapping[str, Any]
    calibration: np.ndarray | None = None
    learned: Sequence[LearnedRange] = ()


@dataclass(frozen=True)
class Candidates:
    """Files of one format whose times are to be compared; they take images of ``size`` (H, W)."""

    size: tuple[int, int]
    files: tuple[Path, ...]


Timer = Callable[[Sequence[Candidates]], list[list[float]]]
"""Milliseconds of processor time that each file takes for one image on one thread of its format's runtime, those of one
``Candidates`` measured in turn. Raises MissingTool where no runtime executes the format, CompressError for a file that
fails."""


@dataclass(frozen=True, kw_only=True)
class Exporter(Component):
    """One file format.

    Class attributes:
        format: the name artifacts carry in bundle.json.
        suffix: the file suffix, by which ``exporters.export_model`` finds the class.
        requires: distributions the conversion needs, as ``pip`` names them.
        extras: extras of this package that install them.
        calibrated: the precisions that need calibration images.
    Subclasses declare ``precision`` as a field whose Literal lists what the format can store.

    Attributes:
        calibration_images: how many training images measure the ranges of a calibrated precision, at most; they are
            chosen by the recipe's seed, the same number from each class. None means 256.
        optimize: ``speed`` writes the graph as the format's runtime runs it fast, ``size`` does so as far as no weights
            are added, ``none`` converts it as it is; ``measured`` times the forms of each place on the runtime and
            keeps the fastest. All compute the same, to float rounding.
        max_bytes: what the file may take, for ``speed`` and ``measured``.
        plan: the form of each place, as an earlier export recorded it; nothing is estimated or measured then.
    """

    format: ClassVar[str]
    suffix: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    extras: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[frozenset[str]] = frozenset()

    precision: str = "fp32"
    calibration_images: Annotated[int, Ge(1)] | None = None
    optimize: Optimize = "speed"
    max_bytes: Annotated[int, Ge(1)] | None = None
    plan: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for option in ("max_bytes", "plan"):
            if getattr(self, option) is not None and self.optimize in ("size", "none"):
                raise BadInput(f"{option}: 'optimize: {self.optimize}' chooses nothing; use speed or measured")
        if self.calibration_images is not None and self.precision not in self.calibrated:
            with_images = ", ".join(sorted(self.calibrated)) or "none"
            raise BadInput(
                f"calibration_images: {self.format} {self.precision} uses no calibration images (precisions that do: "
                f"{with_images}); leave it away"
            )

    def write(self, graph: DeployGraph, path: Path) -> None:
        """Convert and write one artifact at ``path``; the same graph gives the same bytes.

        Raises:
            CompressError: the written file does not store what the precision's name says.
        """
        raise NotImplementedError

    def details(self, path: Path) -> Mapping[str, Any]:
        """What the written file says about itself, for its entry in bundle.json; nothing by default."""
        return {}


# Takes images uint8 [N, H, W, 3], gives embeddings float32 [N, D].
Embedder = Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class OperatorTime:
    """All uses of one operator: how many there are in one run, and the milliseconds of a run they take together."""

    operator: str
    uses: int
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class Runtime(Component):
    """A program that executes artifacts of some formats. Loads in a child process, possibly without torch.

    Class attributes:
        profiles: its library can say where the time goes, operator by operator.
    """

    formats: ClassVar[frozenset[str]]
    evidence: ClassVar[Evidence]
    package: ClassVar[str]
    profiles: ClassVar[bool] = False

    def unavailable(self) -> str | None:
        """Why this runtime cannot run here, in words with the remedy; None when it can."""
        raise NotImplementedError

    def title(self) -> str:
        """The name its results have in bundle.json: another where an option changes what executes."""
        return self.component_name()

    def version(self) -> str:
        """The version of the library that will execute, e.g. ``onnxruntime 1.31.1``."""
        raise NotImplementedError

    def interpreter(self) -> str:
        """The Python that runs the child process: this one, unless the library lives in another environment."""
        return sys.executable

    def open(self, path: Path, threads: int) -> Embedder:
        """Load the artifact. Called in the child process only."""
        raise NotImplementedError

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        """Where the time goes, for uint8 [1, H, W, 3]; where ``profiles``. Called in a child process only."""
        raise NotImplementedError

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        """What this runtime noticed while ``embed``, which ``open`` gave, ran: one line each, nothing by default."""
        return ()


# ------------------------------------------------------------------------------------------------ validation


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image over repeated single-image runs after warm-up."""

    median: float
    p95: float
    threads: int


@dataclass(frozen=True)
class HeldOut:
    """The images an artifact is checked with. No query updated weights; a gallery of the data set's own may have.

    Attributes:
        queries: the images that are searched with.
        gallery: the images searched in; the same object as ``queries`` means leave-one-out.
        probes: uint8 [P, H, W, 3], for parity alone; grey images are tinted.
        ground_truths: what is relevant to the queries, by setting; as in ``Splits``.
        scales: at which the gallery's images are embedded, 1 being the network's own size.
    """

    queries: ImageSet
    gallery: ImageSet
    probes: np.ndarray
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    scales: tuple[float, ...] = (1.0,)

    @property
    def multi_scale(self) -> bool:
        """The PyTorch model makes the gallery that every artifact searches: an artifact takes images of one size."""
        return self.scales != (1.0,)

    @property
    def ground_truth(self) -> GroundTruth | None:
        """The one that metrics without a suffix mean; None where labels tell."""
        return next(iter(self.ground_truths.values()), None)

    @property
    def leave_one_out(self) -> bool:
        return self.gallery is self.queries


@dataclass(frozen=True)
class Observation:
    """What one model gave for the held-out images; the reference is PyTorch itself.

    Attributes:
        queries: float32 [Q, D].
        gallery: float32 [G, D]; the same object as ``queries`` where the data says leave-one-out.
        probes: float32 [P, D], for the parity probes.
        retrieval: the retrieval check's measurement of these features, where it was made before; it is used again.
    """

    queries: np.ndarray
    gallery: np.ndarray
    probes: np.ndarray
    latency: Latency | None = None
    retrieval: Mapping[str, Any] | None = None


class OpenIndex(Protocol):
    """An index of G images, ready to be searched."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest images it finds for queries float32 [Q, D], nearest first.

        Returns:
            Distances float32 [Q, k], in the units of ``compress.search.Match``, and the images' ids int64 [Q, k];
            infinity and -1 in the places for which it found none.
        """


@dataclass(frozen=True, kw_only=True)
class Index(Component):
    """A way to find a query's nearest images without comparing it with all of them, or faster than NumPy does.

    Features are float32 [G, D] as the gallery stores them: bits as 0 and 1 where the distance is hamming.

    Class attributes:
        file: name of the index in the bundle's folder ``gallery``.
        distances: those it can search by.
        least_recall: limit of the gate ``index_recall`` where a recipe gives none.
    """

    file: ClassVar[str]
    distances: ClassVar[tuple[Distance, ...]] = ("l2", "cosine")
    least_recall: ClassVar[float] = 0.9

    def check(self, images: int) -> None:
        """Refuse what would fail on a gallery of so many images, or on this machine, before anything is trained.

        Raises:
            BadInput: an option does not fit the gallery.
            MissingTool: a library is not installed.
        """

    def build(self, path: Path, features: np.ndarray, distance: Distance, seed: int) -> None:
        """Write the index atomically; the same arguments give the same bytes. Raises as ``check``."""
        raise NotImplementedError

    def open(self, path: Path, features: np.ndarray, distance: Distance) -> OpenIndex:
        """Read what ``build`` wrote for these features.

        Raises:
            BadInput: the file is damaged or belongs to another gallery.
            MissingTool: a library is not installed.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Gate:
    """A limit and the value measured against it."""

    name: str
    limit: float
    value: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Check(Component):
    """One comparison of an artifact with the PyTorch model.

    ``section`` is the key it has under ``validate`` in a recipe and in an artifact's entry of bundle.json.
    """

    section: ClassVar[str]

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Mapping[str, Any]:
        """The measured values by name. Never raises for a bad artifact: bad values are values."""
        raise NotImplementedError
