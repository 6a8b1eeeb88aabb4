"""Look at a folder of photographs: how many, of which classes, how large, and which cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from compress.contracts import BadInput, Preprocess, Splits
from compress.data.decode import decode_on_demand
from compress.data.load import cores
from compress.data.splits import even_choice
from compress.datasets._listing import find_images, subfolders
from compress.datasets.image_folder import ImageFolder

MOST_DECODED = 3000
"""Of a larger folder this many photographs are decoded, as many of each class, so that looking takes a minute."""
_SMALL = Preprocess(size=(64, 64))


@dataclass(frozen=True)
class Photographs:
    """The N labelled photographs of a folder, exact copies left out, in the order in which ``image_folder`` finds them.

    Attributes:
        root: the folder.
        splits: what ``image_folder`` found, before anything was decoded.
        labels: int64 [N], indices into ``splits.classes``.
        usable: bool [N]; False for photographs that cannot be decoded.
        own_test: bool [N], the photographs of the folder's own test/; None if it has no folders train/ and test/.
        unreadable: id of each photograph that cannot be decoded -> the reason.
        decoded: number of photographs that were decoded to find that out.
        sides: median and smallest shorter side of these, in pixels.
    """

    root: Path
    splits: Splits
    labels: np.ndarray
    usable: np.ndarray
    own_test: np.ndarray | None
    unreadable: Mapping[str, str]
    decoded: int
    sides: tuple[int, int]

    @property
    def class_sizes(self) -> np.ndarray:
        """int64 [C], number of usable photographs of each class."""
        return np.bincount(self.labels[self.usable], minlength=len(self.splits.classes))

    @property
    def unreadable_share(self) -> float:
        return len(self.unreadable) / self.decoded


def look_at(root: Path) -> Photographs:
    """Find, count and decode the photographs below ``root``.

    Raises:
        BadInput: there are none, they have no classes, or a class has none that can be decoded.
    """
    _need_classes(root)
    dataset = ImageFolder(root=str(root), test_share=0.5)
    splits = dataset.splits(seed=0)
    ids = [*splits.train.ids, *splits.test.ids]
    files = [Path(str(file)) for part in (splits.train, splits.test) for file in part.images]
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    in_test = np.arange(len(ids)) >= len(splits.train)
    own_test = in_test if dataset.divided() else None
    if own_test is None:  # undo the division: by class, then by name
        order = np.array(sorted(range(len(ids)), key=lambda row: (labels[row], ids[row])))
        ids, files, labels = [ids[row] for row in order], [files[row] for row in order], labels[order]
    rows = np.arange(len(ids)) if len(ids) <= MOST_DECODED else even_choice(labels, MOST_DECODED, seed=0)
    found = decode_on_demand([files[row] for row in rows], _SMALL, workers=cores(), progress=True)
    bad = {int(rows[row]): reason for row, reason in found.skipped.items()}
    usable = ~np.isin(np.arange(len(ids)), list(bad))
    unreadable = {ids[row]: reason for row, reason in bad.items()}
    if len(lost := np.setdiff1d(labels, labels[usable])):
        name = splits.classes[lost[0]]
        raise BadInput(
            f"{root}: no photograph of class {name} can be decoded ({next(iter(unreadable.items()))[1]}); replace them "
            "or remove the class's folder"
        )
    sides = _sides([files[row] for row in rows if usable[row]])
    return Photographs(root, splits, labels, usable, own_test, unreadable, len(rows), sides)


def describe(found: Photographs) -> list[str]:
    """What was found, one line for each finding."""
    sizes, classes, splits = found.class_sizes, found.splits.classes, found.splits
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    each = f"{sizes[smallest]:,} ({classes[smallest]}) to {sizes[largest]:,} ({classes[largest]})"
    lines = [
        f"{sizes.sum():,} photographs in {len(classes):,} classes, "
        f"{sizes[largest] if smallest == largest else each} per class",
        f"shorter side {found.sides[0]:,} pixels in the median, at least {found.sides[1]:,}",
    ]
    if found.own_test is not None:
        lines.append(f"{found.own_test.sum():,} of them are in a test folder of their own")
    if sizes[largest] >= 10 * sizes[smallest]:
        lines.append(f"unbalanced: the scores are mostly those of large classes such as {classes[largest]}")
    if splits.duplicates:
        lines.append(f"exact copies, left out: {splits.duplicates:,}")
    if pairs := splits.in_two_classes:
        lines.append(f"pictures in two classes: {len(pairs):,}, such as {' = '.join(pairs[0])}")
    if found.unreadable:
        name, reason = next(iter(found.unreadable.items()))
        lines.append(f"cannot be decoded: {len(found.unreadable):,} of {found.decoded:,}, such as {name} ({reason})")
    if found.decoded < len(found.labels):
        lines.append(f"only {found.decoded:,} of them were decoded, as many of each class")
    if others := Counter(splits.skipped.values()):
        reason, count = others.most_common(1)[0]
        lines.append(f"other files or folders, left out: {sum(others.values()):,}, most often: {reason} ({count:,})")
    return lines


def _need_classes(root: Path) -> None:
    """Raises BadInput for photographs that are in no class folder: training needs to know what they show."""
    if not root.is_dir():
        raise BadInput(f"{root}: no such folder (looked at {root.absolute()})")
    holding = [folder for folder in subfolders(root) if find_images(folder).images]
    if len(holding) >= 2:
        return
    loose = [path for path in find_images(root).images if path.parent == root]
    if not loose and not holding:
        raise BadInput(f"{root}: holds no photographs; put those of each class into a folder of their own")
    where = f"{len(loose):,} outside any folder" if loose else f"all in one folder, {holding[0].name}"
    raise BadInput(
        f"{root}: the photographs have no classes ({where}), and training and its checks need to know which of them "
        f"show the same thing: put those of each thing into a folder of their own, such as {root / 'chair'}. Without "
        f"classes they can only be searched with a bundle that was trained on others: compress index BUNDLE {root}"
    )


def _sides(files: Sequence[Path]) -> tuple[int, int]:
    """The median and the smallest shorter side of files that Pillow can open, in pixels."""
    shorter = []
    for path in files:
        with Image.open(path) as image:  # reads the header only
            shorter.append(min(image.size))
    return int(np.median(shorter)), min(shorter)
