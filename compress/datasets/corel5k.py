"""Corel5k: 5,000 photographs of 50 themes, 100 of each, one folder a theme.

P. Duygulu, K. Barnard, N. de Freitas, D. Forsyth, "Object recognition as machine translation: learning a lexicon for a
fixed image vocabulary", ECCV 2002; its 4,500 training and 500 test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Dataset, Splits, TestShare
from compress.datasets._files import file_samples, not_found, pick, stable_id
from compress.datasets._listing import find_files, skipped_ids
from compress.datasets._tree import divide, read_tree, two_classes
from compress.system.bounded_reading import read_text

_MOST_BYTES = 2**20
_LISTS = ("corel5k_train_list.txt", "corel5k_test_list.txt")


@dataclass(frozen=True, kw_only=True)
class Corel5k(Dataset):
    """THEME/*.jpeg in ``root``/images, ``root``/corel5k or ``root``; the folder's name, a number, is the class.

    Where corel5k_train_list.txt and corel5k_test_list.txt lie at or below ``root`` (lines such as 1000/1000), the
    500 test images search the 4,500 training images, as published. Where they do not, ``test_share`` of each theme is
    drawn by the seed and each searches all others.

    Attributes:
        test_share: share of each theme that is held out as queries and gallery, where the published lists are missing.
    """

    test_share: TestShare = 0.1

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        home = next((place for name in ("images", "corel5k") if (place := root / name).is_dir()), root)
        if not home.is_dir():
            raise not_found(
                "corel5k", [root], "name a folder that holds the photographs of each theme in a folder CLASS/*.jpeg"
            )
        tree = read_tree(home)
        classes = two_classes(tree)
        files, labels = tree.labelled(classes)
        samples = file_samples(files, labels, home)
        skipped = skipped_ids({path: why for path, why in tree.left_out.items() if path.name not in _LISTS}, home)
        found = {path.name: path for path in find_files(root) if path.name in _LISTS}
        if len(found) < len(_LISTS):
            return replace(divide(classes, samples, self.test_share, seed), skipped=skipped)
        row = {stable_id(path.with_suffix(""), home): number for number, path in enumerate(files)}
        train, test = (pick(samples, _rows(found[name], row)) for name in _LISTS)
        return Splits(classes, train, test, gallery=train, skipped=skipped)


def _rows(path: Path, row: dict[str, int]) -> np.ndarray:
    names = [line.strip() for line in read_text(path, _MOST_BYTES).splitlines() if line.strip()]
    if not names or (missing := [name for name in names if name not in row]):
        raise BadInput(
            f"{path}: {f'there is no photograph {missing[0]}' if names else 'empty'}; get the data set again"
        )
    return np.array([row[name] for name in names], dtype=np.int64)
