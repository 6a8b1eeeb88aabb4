"""Search a bundle's gallery with a photograph, as an app does: preprocess, embed with one artifact, rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from compress.bundle.artifact_choice import artifacts_by_name, choose_artifact
from compress.bundle.gallery_index import open_index
from compress.bundle.gallery_of_bundle import fitted, read_searchable
from compress.bundle.manifest import ArtifactEntry, IndexedGallery, read_manifest
from compress.bundle.thresholds import match_distance
from compress.catalogue.living_index import open_index_beside
from compress.contracts import BadInput, CompressError, OpenIndex, Preprocess
from compress.data.images import UndecodableImageError, preprocess_image, read_image
from compress.gallery.nearest import Match, nearest
from compress.gallery.shortlist import Shortlist
from compress.gallery.store import GALLERY, Gallery


@dataclass(frozen=True)
class Answer:
    """The search result for a photograph.

    Attributes:
        artifact: its path in the bundle.
        gallery: number of images that were searched.
        index: name of the index that was used; None if every image was compared.
        matches: the images that were found, nearest first; only those up to the threshold, if there is one.
        threshold: the largest distance of a match; None if every image is one.
        nearest: the nearest image, also if it is beyond the threshold.
    """

    artifact: str
    runtime: str
    distance: str
    gallery: int
    index: str | None
    matches: tuple[Match, ...]
    threshold: float | None = None
    nearest: Match | None = None


def query(
    folder: Path,
    image: Path | Image.Image,
    *,
    top: int,
    artifact: str | None = None,
    runtime: str | None = None,
    exact: bool = False,
    gallery: Path | None = None,
    threshold: str | None = None,
) -> Answer:
    """Find the ``top`` nearest gallery images of a photograph.

    Args:
        folder: a bundle.
        image: any file that Pillow reads, or what Pillow read; it is prepared as the bundle's ``preprocess`` says.
        artifact: file name, e.g. ``quickstart.fp32.onnx``; by default the first of ``SHIPPED`` that runs here.
        runtime: by default the artifact's best one installed here.
        exact: compare with every image even if the bundle has an index.
        gallery: a file that ``compress index`` made; by default the bundle's own gallery.
        threshold: leave out images that are no match: a false-accept rate such as ``0.1%``, or a distance.

    Raises:
        BadInput: there is no bundle, no gallery of its model, no readable image, no such artifact or runtime, or no
            such threshold.
        MissingTool: no runtime that could embed the image, or no library that searches the index, is installed here.
        ArtifactError: the artifact did not run.
    """
    from validators import run_artifact

    if top < 1:
        raise BadInput(f"--top {top}: give 1 or more")
    bundle = open_bundle(folder, exact=exact, gallery=gallery)
    try:
        if isinstance(image, Image.Image):
            pixels = preprocess_image(image, bundle.preprocess)
        else:
            pixels = read_image(image, bundle.preprocess)
    except UndecodableImageError as error:
        raise BadInput(f"{image}: cannot be searched with: {error}") from error
    entry, chosen = choose_artifact(folder, bundle.artifacts, artifact, runtime)
    limit = None if threshold is None else match_distance(threshold, entry, chosen.title(), older=bundle.older)
    embedding = run_artifact(folder / entry.path, pixels[None], runtime=chosen.title())
    matches = bundle.rank(entry.path, embedding, top)
    return Answer(
        artifact=entry.path,
        runtime=chosen.title(),
        distance=bundle.gallery.embedding.distance,
        gallery=len(bundle.gallery.names),
        index=bundle.index_name,
        matches=matches if limit is None else tuple(each for each in matches if each.distance <= limit),
        threshold=limit,
        nearest=matches[0] if matches else None,
    )


@dataclass(frozen=True)
class Searchable:
    """A bundle ready to be searched.

    Attributes:
        artifacts: entries of the manifest by file name.
        index: the index that is searched; None compares with every image.
        index_name: name of the index's component.
        older: the gallery is an older model's, which the bundle's was trained to search.
    """

    folder: Path
    name: str
    gallery: Gallery
    preprocess: Preprocess
    artifacts: Mapping[str, ArtifactEntry]
    index: OpenIndex | None = None
    index_name: str | None = None
    older: bool = False

    @cached_property
    def _shortlist(self) -> Shortlist | None:
        distance = self.gallery.embedding.distance
        return Shortlist(self.gallery.features, distance) if distance in ("l2", "cosine") else None

    def rank(self, path: str, embedding: np.ndarray, top: int) -> tuple[Match, ...]:
        """Find the ``top`` nearest gallery images of an embedding, float32 [1, D], from the artifact at ``path``.

        Raises:
            ArtifactError: it is not an embedding of this space.
        """
        from validators import ArtifactError

        try:
            queries = fitted(embedding, self.gallery) if self.older else embedding
            (matches,) = nearest(self.gallery, queries, top, index=self.index, shortlist=self._shortlist)
        except ValueError as error:
            raise ArtifactError(f"{self.folder / path}: its embedding cannot be ranked ({error})") from error
        return tuple(matches)


def open_bundle(folder: Path, *, exact: bool = False, gallery: Path | None = None) -> Searchable:
    """Read what a search needs; with ``exact``, ignore the index.

    Args:
        gallery: a file that ``compress index`` made, with this bundle or, if it was trained to search its galleries,
            with an older one; an index beside it is used, not the bundle's.

    Raises:
        BadInput: there is no bundle or no gallery of its model, or the index is damaged.
        MissingTool: the index needs a library that is not installed.
    """
    manifest = read_manifest(folder)
    found = read_searchable(manifest, folder / GALLERY if gallery is None else gallery)
    older = found.meta.get("space_id") != manifest.embedding.space_id
    bundle = Searchable(
        folder, manifest.name, found, manifest.preprocess.value, artifacts_by_name(manifest), older=older
    )
    indexed = manifest.gallery
    if exact or (gallery is None and not isinstance(indexed, IndexedGallery)):
        return bundle
    try:
        if gallery is not None:
            beside = open_index_beside(gallery, found)
            return bundle if beside is None else replace(bundle, index=beside[1], index_name=beside[0])
        assert isinstance(indexed, IndexedGallery)
        opened = open_index(folder, indexed, manifest.files.get(indexed.path), found)
        return replace(bundle, index=opened, index_name=indexed.index)
    except CompressError as error:
        raise type(error)(f"{error}; or compare with every image (--exact)") from error
