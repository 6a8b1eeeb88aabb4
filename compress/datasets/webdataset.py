"""Shards of WebDataset: tar archives of images, each with its label beside it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import ArchivedImage, BadInput, Dataset, Samples, Splits, TestShare
from compress.data.splits import stratified_split
from compress.datasets._files import not_found, pick
from compress.datasets._listing import SUFFIXES
from compress.system.bounded_reading import parse_json

_MOST_LABEL_BYTES = 65_536


@dataclass(frozen=True)
class _Found:
    """One image of a shard and its label."""

    name: str
    image: ArchivedImage
    label: str


@dataclass(frozen=True, kw_only=True)
class Webdataset(Dataset):
    """Uncompressed ``.tar`` files in ``root``, in which ``KEY.jpg`` is an image and ``KEY.cls`` its label.

    Images are read from their place in the archive, nothing is unpacked; ``cache: none`` keeps no decoded copy of them
    either, for collections that do not fit the disk. Images without a label are left out.

    Attributes:
        train: pattern of the shards that train, below ``root``.
        test: pattern of the shards of queries; null divides the training shards at random within each class.
        gallery: pattern of the shards that are searched; null: each query searches all others.
        label: what holds the label: the suffix of a text file, or ``json.NAME``, the value NAME of ``KEY.json``.
        test_share: share of each class that is held out, without ``test``.
    """

    train: str = "train-*.tar"
    test: str | None = None
    gallery: str | None = None
    label: str = "cls"
    test_share: TestShare = 0.2

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        if not list(_shards(root, self.train)):
            raise not_found(
                "webdataset",
                [root / self.train],
                "name the shards there, uncompressed .tar files (https://github.com/webdataset/webdataset)",
            )
        skipped: dict[str, str] = {}
        parts = {
            part: [] if pattern is None else self._found(root, part, pattern, skipped)
            for part, pattern in (("train", self.train), ("test", self.test), ("gallery", self.gallery))
        }
        classes = tuple(sorted({each.label for found in parts.values() for each in found}))
        if len(classes) < 2:
            raise BadInput(f"data.root: the shards in {root.absolute()} name {len(classes)} classes, two are needed")
        number = {name: place for place, name in enumerate(classes)}

        def samples(part: str) -> Samples:
            found = parts[part]
            labels = np.array([number[each.label] for each in found], dtype=np.int64)
            return Samples([each.image for each in found], labels, tuple(each.name for each in found))

        train, test = samples("train"), samples("test")
        if self.test is None:
            rows, held_out = stratified_split(train.labels, self.test_share, seed)
            train, test = pick(train, rows), pick(train, held_out)
        splits = Splits(classes, train, test, skipped=skipped)
        return splits if self.gallery is None else replace(splits, gallery=samples("gallery"))

    def _found(self, root: Path, part: str, pattern: str, skipped: dict[str, str]) -> list[_Found]:
        """Find the labelled images of the shards of a pattern; the others are added to ``skipped``.

        Raises:
            BadInput: no shard has the pattern, or one is no uncompressed archive.
        """
        suffix, _, field = self.label.partition(".")
        found = []
        for shard in _shards(root, pattern):
            images: dict[str, tuple[str, ArchivedImage]] = {}
            labels: dict[str, str] = {}
            for member, content in _members(shard, suffix):
                key, _, ending = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{key}"
                if content is not None:
                    labels[key] = _label(shard, member.name, content, field)
                elif f".{ending.rpartition('.')[2].lower()}" in SUFFIXES:
                    name = f"{shard.relative_to(root).as_posix()}/{member.name}"
                    images[key] = (name, ArchivedImage(shard, member.offset_data, member.size))
            for key, (name, image) in images.items():
                if key in labels:
                    found.append(_Found(name, image, labels[key]))
                else:
                    skipped[name] = f"has no label .{self.label}"
        if not found:
            raise BadInput(
                f"data.{part}: no image of {pattern} in {root.absolute()} has a label .{self.label}; set data.label"
            )
        return found


def _shards(root: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise BadInput(f"data: the pattern {pattern} must be below data.root")
    return sorted(path for path in root.glob(pattern) if path.is_file()) if root.is_dir() else []


def _members(shard: Path, suffix: str) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Yield the regular files of a shard, with the content of labels alone."""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                if not member.name.endswith(f".{suffix}"):
                    yield member, None
                    continue
                if member.size > _MOST_LABEL_BYTES:
                    raise BadInput(f"{shard}: {member.name} has {member.size:,} bytes, which is no label")
                file = archive.extractfile(member)
                assert file is not None, member.name
                yield member, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(f"{shard}: is no uncompressed tar archive, or is damaged ({error})") from error


def _label(shard: Path, name: str, content: bytes, field: str) -> str:
    try:
        text = content.decode("utf-8").strip()
        value: Any = parse_json(text) if field else text
    except ValueError as error:
        raise BadInput(f"{shard}: {name} cannot be read ({error})") from error
    if field:
        value = value.get(field) if isinstance(value, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise BadInput(f"{shard}: {name} holds no label{f' {field!r}' if field else ''}, a text or a whole number")
    return str(value)
