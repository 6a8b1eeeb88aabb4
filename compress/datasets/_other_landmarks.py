"""Training images for landmark benchmarks: a folder of other landmarks, or retrieval-SfM's clusters and pairs.

retrieval-SfM-120k (F. Radenovic, G. Tolias, O. Chum, TPAMI 2019, section 3.1) has the images of 713 models of
structure-from-motion. Its pickle lists each image's model, its cluster, and which two images show the same part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, PublishedImage, Samples, TrainingPairs
from compress.datasets._files import file_samples
from compress.datasets._listing import skipped_ids
from compress.datasets._pickle import integers, numbers, read_pickle, strings
from compress.datasets._tree import read_tree, two_classes

_SFM = "retrieval-SfM-*.pkl"


@dataclass(frozen=True)
class OtherLandmarks:
    """Images to train on, before the benchmark's own classes are known.

    Attributes:
        names: for each image the name of its class.
        files: the images.
        folder: what their ids are relative to.
        skipped: as in ``Splits``.
        pairs: as in ``Splits``.
    """

    names: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path = Path()
    skipped: Mapping[str, str] | None = None
    pairs: TrainingPairs | None = None

    def samples(self, classes: Sequence[str]) -> Samples:
        """The images, with labels into ``classes`` and ids below ``train/``."""
        number = {name: label for label, name in enumerate(classes)}
        samples = published(self.files, [number[name] for name in self.names], self.folder)
        return Samples(samples.images, samples.labels, tuple(f"train/{name}" for name in samples.ids))


def published(files: Sequence[Path], labels: Sequence[int] | np.ndarray, root: Path) -> Samples:
    """Samples of files that are decoded as ``PublishedImage`` says."""
    return replace(file_samples(files, labels, root), images=[PublishedImage(path) for path in files])


def other_landmarks(train: str | None) -> OtherLandmarks:
    """Read the folder that ``data.train`` names; None gives no images.

    The folder holds CLASS/**, or ``retrieval-SfM-120k.pkl`` (or -30k) and ``ims`` as published.

    Raises:
        BadInput: it is not there, has one class, or its pickle is not what was published.
    """
    if train is None:
        return OtherLandmarks()
    folder = Path(train).expanduser()
    if not folder.is_dir():
        raise BadInput(
            f"data.train: there is no folder {folder.absolute()}; name one that holds other landmarks as CLASS/*.jpg, "
            "or set it to null and give a checkpoint"
        )
    if tables := sorted(folder.glob(_SFM)):
        return _structure_from_motion(tables[0])
    tree = read_tree(folder)
    files, labels = tree.labelled(classes := two_classes(tree))
    skipped = {f"train/{name}": reason for name, reason in skipped_ids(tree.left_out, tree.folder).items()}
    return OtherLandmarks(tuple(classes[label] for label in labels), tuple(files), tree.folder, skipped)


def _structure_from_motion(table: Path) -> OtherLandmarks:
    """Read the part ``train``; validation images are held out of it by whole clusters, as of any other data.

    An image is ims/EF/CD/AB/…ABCDEF, by the last letters of its name.
    """
    content = read_pickle(table, "train", "a list of pairs")
    try:
        names = strings(content["cids"])
        clusters = numbers(content["cluster"]).astype(np.int64)
        pairs = TrainingPairs(*(integers(content[key], len(names)) for key in ("qidxs", "pidxs")))
        if not len(names) == len(clusters) > 0 or not len(pairs.queries) == len(pairs.positives) > 0:
            raise ValueError("lists of different or no length")
        if (clusters[pairs.queries] != clusters[pairs.positives]).any():
            raise ValueError("a pair of two clusters")
        if not all(len(name) > 5 and name.isalnum() for name in names):
            raise ValueError("names that are not those of images")
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(
            f"{table}: not the clusters and pairs of retrieval-SfM ({error!r}); get the file again"
        ) from error
    files = tuple(table.parent / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / name for name in names)
    return OtherLandmarks(tuple(f"cluster {number:04d}" for number in clusters), files, table.parent, {}, pairs)
