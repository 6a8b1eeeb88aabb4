"""Images, before and after decoding, and the data sets they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le, Lt

from compress.contracts.components import Component

if TYPE_CHECKING:
    import numpy as np

# Options that several data sets share, with their limits; mean and std are per RGB channel for values in [0, 1].
_Side = Annotated[int, Ge(8), Le(2048)]
ImageSize = _Side | tuple[_Side, _Side]
ChannelMean = tuple[Annotated[float, Ge(0), Le(1)], Annotated[float, Ge(0), Le(1)], Annotated[float, Ge(0), Le(1)]]
ChannelStd = tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]]
TestShare = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True)
class Preprocess:
    """How to make the uint8 RGB image that an artifact takes, and the normalisation inside the artifact.

    Attributes:
        size: (H, W) in pixels.
        crop: ``none`` squashes the whole image to ``size``; ``center`` resizes the shorter side, then cuts the centre;
            ``pad`` resizes the longer side and centres the image on the colour ``mean``.
        mean: per RGB channel, for values scaled to [0, 1].
        std: per RGB channel, for values scaled to [0, 1].
    """

    size: tuple[int, int]
    crop: Literal["none", "center", "pad"] = "none"
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
class PublishedImage:
    """An image file, or a part of one, that a benchmark's own code decodes in its own way.

    EXIF orientation is ignored and a truncated file gives what it holds, as with ``ImageFile.LOAD_TRUNCATED_IMAGES``.

    Attributes:
        box: (left, top, right, bottom) in pixels of the file; None takes all of it.
    """

    path: Path
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class ArchivedImage:
    """An image file inside an uncompressed archive: ``size`` bytes from ``offset`` on."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Samples:
    """One split as a data set finds it, before decoding.

    Attributes:
        images: uint8 [N, h, w] or [N, h, w, 3], or the N files, parts of files, or files in archives, to decode.
        labels: int64 [N], indices into ``Splits.classes``.
        ids: unique names, stable between machines (paths relative to the data set's root, or split/number).
    """

    images: np.ndarray | Sequence[Path | PublishedImage | ArchivedImage]
    labels: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class GroundTruth:
    """The relevant gallery images of each of Q queries, listed one by one, for data sets whose labels do not say.

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
        """The ground truth of some queries in a part of the gallery: int64 indices, the gallery's ascending."""

        def kept(rows: np.ndarray) -> np.ndarray:
            places = gallery.searchsorted(rows)
            found: np.ndarray = places[gallery.searchsorted(rows, "right") > places]
            return found

        relevant, junk = ([kept(rows[query]) for query in queries] for rows in (self.relevant, self.junk))
        return GroundTruth(tuple(relevant), tuple(junk), self.form)


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs of training images that show the same thing, which is more than to be in one class.

    Attributes:
        queries, positives: int64 [P], indices into the training images; the two of a pair are in one class.
    """

    queries: np.ndarray
    positives: np.ndarray

    def __len__(self) -> int:
        return len(self.queries)

    def moved(self, places: np.ndarray) -> TrainingPairs:
        """The pairs whose images have moved to ``places``, int64 [N]; -1 leaves an image, and its pairs, out."""
        queries, positives = places[self.queries], places[self.positives]
        kept = (queries >= 0) & (positives >= 0)
        return TrainingPairs(queries[kept], positives[kept])


@dataclass(frozen=True)
class Splits:
    """A data set's images before decoding.

    Attributes:
        classes: the names of all labels of all splits. The classifier has one output for each, even for classes
            without training images; the gallery and the report show their names.
        train: the training images. May share no class with ``test``, see ``Data.open_set``; empty if the recipe only
            tests.
        test: the queries; also the gallery if ``gallery`` is None.
        duplicates: number of exact copies that were left out.
        gallery: the images to search in; None means the test images, without the query itself (leave-one-out). It may
            contain training images under the same ids, as the protocols of deep hashing do. It contains a query only
            if ``ground_truths`` says what is relevant.
        ground_truths: by setting, for instance Easy, Medium and Hard; indices into ``test`` and ``gallery``, which must
            be there. The first one is what metrics without a suffix mean. Empty: a gallery image is relevant where its
            label is the query's.
        pairs: which training images show the same thing; None if the data set does not list it.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples
    duplicates: int = 0
    gallery: Samples | None = None
    ground_truths: Mapping[str, GroundTruth] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    in_two_classes: tuple[tuple[str, str], ...] = ()
    pairs: TrainingPairs | None = None


@dataclass(frozen=True)
class Division:
    """The labels of the training images, which stages check before any image is decoded.

    Attributes:
        train, validation: int64 labels of the images that train, and of the images that choose the best weights.
        open_set: as in ``Data``.
    """

    train: np.ndarray
    validation: np.ndarray
    open_set: bool


@dataclass(frozen=True)
class Data:
    """The decoded images, as stages and checks get them.

    Attributes:
        train: images that update weights.
        validation: images that choose the best weights (the test images themselves where the recipe says
            ``validation_share: 0``, as the papers do); with ``open_set`` all images of some classes that do not train.
        queries: the held-out images that are searched with.
        gallery: the images searched in; the same object as ``queries`` means leave-one-out. It may hold training
            images, where the data set's protocol has them in its database.
        skipped: files that were left out or could not be decoded, with the reason.
        fingerprint: sha256 over every pixel, label and the preprocessing.
        open_set: no class of the queries is among the training classes. A classifier cannot name them, so the best
            weights are those that rank best: search ``validation`` leave-one-out and take the mAP, not the accuracy.
        ground_truths: what is relevant to the queries, by setting; as in ``Splits``.
        in_two_classes: ids of files with the same content and different classes.
        pairs: which images of ``train`` show the same thing; None if the data set does not list it.
        unlabelled: further photographs for calibration and for what a teacher teaches, all with the label -1; None if
            the recipe names none.
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
    in_two_classes: tuple[tuple[str, str], ...] = ()
    pairs: TrainingPairs | None = None
    unlabelled: ImageSet | None = None

    @property
    def leave_one_out(self) -> bool:
        return self.gallery is self.queries

    @property
    def division(self) -> Division:
        return Division(self.train.labels, self.validation.labels, self.open_set)


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """A source of labelled images.

    Attributes:
        root: the folder that holds the data set.
        image_size: pixels of what the network sees: one number for both sides, or [height, width].
        crop: ``none`` squashes, ``center`` keeps the aspect ratio and cuts the centre, ``pad`` keeps the aspect ratio
            and the whole image, on the mean colour.
        mean, std: normalisation per RGB channel for values in [0, 1].
        validation_share: share of the training images held out to choose the best weights; 0 chooses on the
            test images, as the papers do.
        max_skipped_share: the run stops when more than this share of the images cannot be decoded.
        unlabelled: a folder of further photographs without labels. They train what learns from a teacher (``distill``,
            or another stage with an objective), without the loss on labels, and are among the calibration images.
            Copies of held-out images are left out.
        cache: ``disk`` decodes every file once into a memory-mapped array under the user's cache folder,
            ``none`` decodes in worker threads each epoch.

    Class attributes:
        images_license: licence of the pictures; None if their authors state none, then the recipe gives it.
    """

    images_license: ClassVar[str | None] = None

    root: str = "data"
    image_size: ImageSize = 128
    crop: Literal["none", "center", "pad"] = "none"
    mean: ChannelMean = (0.485, 0.456, 0.406)
    std: ChannelStd = (0.229, 0.224, 0.225)
    validation_share: Annotated[float, Ge(0), Lt(1)] = 0.1
    max_skipped_share: Annotated[float, Ge(0), Le(1)] = 0.01
    unlabelled: str | None = None
    cache: Literal["disk", "none"] = "disk"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of what the network sees."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    def splits(self, seed: int) -> Splits:
        """Find the images. Raises BadInput saying where it looked and how to get the data set."""
        raise NotImplementedError
