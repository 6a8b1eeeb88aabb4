"""Search a bundle's gallery with a photograph, as an app does: preprocess, embed with one artifact, rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compress import plugins
from compress.bundle.gallery_index import open_index
from compress.bundle.manifest import MANIFEST, ArtifactEntry, IndexedGallery, Manifest, read_manifest
from compress.contracts import BadInput, CompressError, MissingTool, OpenIndex, Preprocess, Runtime
from compress.data.images import UndecodableImageError, read_image
from compress.gallery.nearest import Match, nearest
from compress.gallery.shortlist import Shortlist
from compress.gallery.store import GALLERY, Gallery, read_gallery

SHIPPED = ("tflite", "onnx", "coreml")
"""The formats that apps ship today; formats that run on most systems come first."""


@dataclass(frozen=True)
class Answer:
    """The search result for a photograph.

    Attributes:
        artifact: its path in the bundle.
        gallery: number of images that were searched.
        index: name of the index that was used; None if every image was compared.
        matches: the images that were found, nearest first.
    """

    artifact: str
    runtime: str
    distance: str
    gallery: int
    index: str | None
    matches: tuple[Match, ...]


def query(
    folder: Path,
    image: Path,
    *,
    top: int,
    artifact: str | None = None,
    runtime: str | None = None,
    exact: bool = False,
) -> Answer:
    """Find the ``top`` nearest gallery images of a photograph.

    Args:
        folder: a bundle.
        image: any file that Pillow reads; it is prepared as the bundle's ``preprocess`` says.
        artifact: file name, e.g. ``quickstart.fp32.onnx``; by default the first of ``SHIPPED`` that runs here.
        runtime: by default the artifact's best one installed here.
        exact: compare with every image also where the bundle has an index.

    Raises:
        BadInput: there is no bundle, no gallery of its model, no readable image, or no such artifact or runtime.
        MissingTool: no runtime that could embed the image, or no library that searches the index, is installed here.
        ArtifactError: the artifact did not run.
    """
    from validators import run_artifact

    if top < 1:
        raise BadInput(f"--top {top}: give 1 or more")
    bundle = open_bundle(folder, exact=exact)
    try:
        pixels = read_image(image, bundle.preprocess)
    except UndecodableImageError as error:
        raise BadInput(f"{image}: cannot be searched with: {error}") from error
    path, chosen = _choose(folder, _named(bundle, artifact), runtime)
    name = chosen.component_name()
    embedding = run_artifact(folder / path, pixels[None], runtime=name)
    matches = bundle.rank(path, embedding, top)
    distance = bundle.gallery.embedding.distance
    return Answer(path, name, distance, len(bundle.gallery.names), bundle.index_name, matches)


@dataclass(frozen=True)
class Searchable:
    """A bundle ready to be searched.

    Attributes:
        artifacts: entries of the manifest by file name.
        index: the index that is searched; None compares with every image.
        index_name: name of the index's component.
    """

    folder: Path
    name: str
    gallery: Gallery
    preprocess: Preprocess
    artifacts: Mapping[str, ArtifactEntry]
    index: OpenIndex | None = None
    index_name: str | None = None

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
            (matches,) = nearest(self.gallery, embedding, top, index=self.index, shortlist=self._shortlist)
        except ValueError as error:
            raise ArtifactError(f"{self.folder / path}: its embedding cannot be ranked ({error})") from error
        return tuple(matches)


def open_bundle(folder: Path, *, exact: bool = False) -> Searchable:
    """Read what a search needs; with ``exact``, ignore the index.

    Raises:
        BadInput: there is no bundle or no gallery of its model, or the index is damaged.
        MissingTool: the index needs a library that is not installed.
    """
    manifest = read_manifest(folder)
    artifacts = {Path(entry.path).name: entry for entry in manifest.artifacts}
    gallery = _gallery(folder, manifest)
    bundle = Searchable(folder, manifest.name, gallery, manifest.preprocess.value, artifacts)
    indexed = manifest.gallery
    if exact or not isinstance(indexed, IndexedGallery):
        return bundle
    try:
        opened = open_index(folder, indexed, manifest.files.get(indexed.path), gallery)
        return replace(bundle, index=opened, index_name=indexed.index)
    except CompressError as error:
        raise type(error)(f"{error}; or compare with every image (--exact)") from error


def _gallery(folder: Path, manifest: Manifest) -> Gallery:
    gallery = read_gallery(folder / GALLERY)
    space = manifest.embedding.space_id
    if gallery.meta.get("space_id") != space:
        raise BadInput(
            f"{folder / GALLERY}: made in the embedding space {gallery.meta.get('space_id')}, the bundle's is {space}; "
            "take the gallery of the same run"
        )
    return gallery


def _named(bundle: Searchable, name: str | None) -> list[ArtifactEntry]:
    """The artifact with this file name, or all artifacts, those of ``SHIPPED`` formats first."""
    known = bundle.artifacts
    if name is None:
        order = {each: rank for rank, each in enumerate(SHIPPED)}
        return sorted(known.values(), key=lambda entry: order.get(entry.format, len(order)))
    if name not in known:
        near = plugins.did_you_mean(name, list(known))
        raise BadInput(f"--artifact {name}: {bundle.folder} has {', '.join(known) or 'no artifacts'}{near}")
    return [known[name]]


def _choose(folder: Path, artifacts: Sequence[ArtifactEntry], runtime: str | None) -> tuple[str, Runtime]:
    """The first of ``artifacts`` that can run here, and its runtime."""
    from validators import choose_runtime, runtime_named

    if runtime is not None:
        formats = runtime_named(runtime).formats
        able = [entry for entry in artifacts if entry.format in formats]
        if not able:
            has = ", ".join(sorted({entry.format for entry in artifacts}))
            raise BadInput(f"--runtime {runtime}: runs {', '.join(sorted(formats))}, not {has}")
        artifacts = able
    reasons = []
    for entry in artifacts:
        try:
            return entry.path, choose_runtime(entry.format, runtime)
        except MissingTool as error:
            reasons.append(str(error))
    if not reasons:
        raise BadInput(f"{folder / MANIFEST}: the bundle has no artifact that could embed an image")
    raise MissingTool(f"{folder}: {reasons[0]}")
