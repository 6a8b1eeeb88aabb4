"""The Oxford and Paris building sets: flat folders of photographs named LANDMARK_NNNNNN.jpg.

The OMCBIR paper takes the file-name prefix as the class, not the 11 landmarks of the retrieval ground truth, and
splits at random 8:2.
"""

from __future__ import annotations

import re
from pathlib import Path

from compress.contracts import BadInput, Splits
from compress.data.splits import random_split
from compress.datasets._files import file_samples, not_found, pick
from compress.datasets._listing import Listing, find_images, skipped_ids


def landmark_splits(
    dataset: str, root: Path, folder: str, pattern: str, remedy: str, test_share: float, seed: int
) -> Splits:
    """Read ROOT/<folder> or, where that is not there, ROOT.

    Args:
        pattern: of the file name without suffix; its one group is the class.
        remedy: how to get the data set.

    Raises:
        BadInput: there are no images, or one whose name does not match.
    """
    home = root / folder if (root / folder).is_dir() else root
    listing = find_images(home) if home.is_dir() else Listing([], {})
    files = listing.images
    if not files:
        raise not_found(dataset, [root / folder, root], remedy)
    names = []
    for path in files:
        match = re.fullmatch(pattern, path.stem)
        if match is None:
            raise BadInput(f"data.root: {path.absolute()} is not named LANDMARK_NNNNNN; is this {dataset}? remove it")
        names.append(match[1])
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
        raise BadInput(f"data.root: {home.absolute()} holds only photographs of '{classes[0]}'; two classes are needed")
    number = {name: index for index, name in enumerate(classes)}
    samples = file_samples(files, [number[name] for name in names], home)
    train, test = random_split(len(samples), test_share, seed)
    skipped = skipped_ids(listing.left_out, home)
    return Splits(classes, pick(samples, train), pick(samples, test), skipped=skipped)
