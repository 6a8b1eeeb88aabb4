"""The search results of each model: precision over recall, average precision by class, ten images for some queries.

``rankings.json`` in a bundle holds them, for the report and for people who want to know where an mAP comes from:

    recall      the recall levels of every ``precision``
    classes     class names; every ``class_ap`` has their order
    measured    {queries, of}: number of queries behind precision and class_ap, spread evenly over the classes
    gallery     {images, of}: number of images in the bundle's gallery, in which the first ten were searched
    queries     [{name, class, picture}], a picture being a JPEG in base64; if the data set lists the relevant images,
                also ``relevant``, ids in the gallery
    models      [{path, runtime, precision, class_ap, top}], the PyTorch model first with runtime null; ``top`` has one
                row for each of ``queries``: ids in the gallery, nearest first, never the query itself. A model
                whose output cannot be ranked has {path, runtime, problem} instead.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field

from compress.contracts import BadInput, EmbeddingSpec, GalleryOptions, HeldOut, Observation
from compress.data.splits import by_class
from compress.gallery.store import Gallery, chosen_rows
from compress.system.bounded_reading import JSON_BYTES, read_text
from validators._sampling import affordable
from validators.curves import RECALL, curves, spread
from validators.metrics import nearest_neighbours
from validators.results import Measured, Part

RANKINGS = "rankings.json"
"""The path of the file in a bundle."""

MEASURED, MEASURED_PER_CLASS, SHOWN, TOP = 1000, 10, 100, 10
"""Queries behind the curves: at least, and per class if it has as many; queries with pictures; images for each."""


class RankedModel(Part):
    """The search results of one model; ``runtime`` is None for the PyTorch model."""

    path: str
    runtime: str | None
    precision: tuple[Measured, ...]
    class_ap: tuple[Measured, ...]
    top: tuple[tuple[int, ...], ...]


class UnrankedModel(Part):
    """A model whose output cannot be ranked, and why."""

    path: str
    runtime: str | None
    problem: str


class RankedQuery(Part):
    """A query with its picture, a JPEG in base64."""

    left_out = frozenset({"relevant"})

    name: str
    label: int = Field(validation_alias="class", serialization_alias="class")
    relevant: tuple[int, ...] | None = None
    picture: str


class MeasuredQueries(Part):
    """How many queries were measured: ``queries`` of ``of``."""

    queries: int
    of: int


class IndexedImages(Part):
    """How many images are in the bundle's gallery: ``images`` of ``of``."""

    images: int
    of: int


class RankingsFile(Part):
    """rankings.json."""

    recall: tuple[float, ...]
    classes: tuple[str, ...]
    measured: MeasuredQueries
    gallery: IndexedImages
    queries: tuple[RankedQuery, ...]
    models: tuple[RankedModel | UnrankedModel, ...]


def read_rankings(path: Path) -> RankingsFile:
    """Read the file. Raises BadInput if it is damaged."""
    text = read_text(path, JSON_BYTES)
    try:
        return RankingsFile.model_validate_json(text)
    except ValueError as error:
        problem = " ".join(str(error).split())
        raise BadInput(f"{path}: damaged ({problem}); make it again with 'compress run'") from error


class Rankings:
    """Ranks the gallery for one model after the other, always with the same queries.

    Args:
        gallery: the bundle's gallery, in which the first ten images are searched.
    """

    def __init__(self, held_out: HeldOut, gallery: Gallery, classes: tuple[str, ...], embedding: EmbeddingSpec) -> None:
        self._held_out = held_out
        self._classes = classes
        self._embedding = embedding
        self._indexed = chosen_rows(gallery.meta["of"], GalleryOptions(max_images=gallery.meta["images"]))
        labels = held_out.queries.labels
        present = len(np.unique(labels))
        measured = affordable(MEASURED, embedding)
        least = MEASURED_PER_CLASS if measured == MEASURED else 1
        self._measured = spread(labels, max(least, -(-measured // present)))
        # A query that is not in the bundle's gallery could not be left out of its own result.
        shown = spread(labels, -(-SHOWN // present), self._indexed if held_out.leave_one_out else None)
        self._shown = shown[np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(np.int64)]

    def of(self, observation: Observation, path: str, runtime: str | None) -> RankedModel | UnrankedModel:
        """Rank for one model; ``path`` and ``runtime`` identify it."""
        itself = np.searchsorted(self._indexed, self._shown) if self._held_out.leave_one_out else None
        try:
            measured = curves(observation, self._measured, self._held_out, self._embedding)
            top = nearest_neighbours(
                observation.queries[self._shown],
                observation.gallery[self._indexed],
                TOP,
                distance=self._embedding.distance,
                itself=itself,
            )
        except ValueError as error:
            return UnrankedModel(path=path, runtime=runtime, problem=str(error))
        labels = self._held_out.queries.labels[self._measured]
        means = np.full(len(self._classes), np.nan)
        for rows in by_class(labels):
            means[labels[rows[0]]] = _mean(measured.average_precision[rows])
        return RankedModel(
            path=path,
            runtime=runtime,
            precision=_rounded(measured.precision),
            class_ap=_rounded(means),
            top=tuple(map(tuple, top.tolist())),
        )

    def file(self, thumbnail: int, models: tuple[RankedModel | UnrankedModel, ...]) -> RankingsFile:
        """The content of rankings.json; the longer side of a query's picture has ``thumbnail`` pixels."""
        queries, gallery = self._held_out.queries, self._held_out.gallery
        return RankingsFile(
            recall=tuple(RECALL),
            classes=self._classes,
            measured=MeasuredQueries(queries=len(self._measured), of=len(queries)),
            gallery=IndexedImages(images=len(self._indexed), of=len(gallery)),
            queries=tuple(
                RankedQuery(
                    name=queries.ids[row],
                    label=int(queries.labels[row]),
                    relevant=self._relevant(row),
                    picture=self._picture(row, thumbnail),
                )
                for row in self._shown.tolist()
            ),
            models=models,
        )

    def _relevant(self, row: int) -> tuple[int, ...] | None:
        truth = self._held_out.ground_truth
        if truth is None:
            return None
        return tuple(truth.among(np.array([row]), self._indexed).relevant[0].tolist())

    def _picture(self, row: int, thumbnail: int) -> str:
        picture = Image.fromarray(np.asarray(self._held_out.queries.images[row : row + 1])[0])
        picture.thumbnail((thumbnail, thumbnail))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        return base64.b64encode(file.getvalue()).decode()


def _mean(values: np.ndarray) -> float:
    """The mean over a class's queries; NaN if none has a relevant item."""
    answered = values[~np.isnan(values)]
    return float(answered.mean()) if len(answered) else float("nan")


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
