"""Emoji of two vendors as instance retrieval: one vendor's picture is the query, the other's is to be found.

Pictures of 64 px, 1,876 emoji that differ, from the npm packages emoji-datasource-google and
emoji-datasource-twitter (github.com/iamcal/emoji-data).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from compress.contracts import BadInput, Dataset, ImageSize, Samples, Splits, TestShare
from compress.data.splits import random_split
from compress.datasets._files import drop_duplicates, file_samples, not_found
from compress.system.bounded_reading import parse_json, read_text

_MOST_BYTES = 2**26  # emoji.json has 2 MB

Vendor = Literal["google", "twitter"]


@dataclass(frozen=True, kw_only=True)
class Emoji(Dataset):
    """Both packages unpacked: ``root``/google/ and ``root``/twitter/, each with emoji.json and img/VENDOR/64/*.png.

    A class is an emoji (a sequence of code points, named as in emoji.json). Those that train and those that are tested
    are different ones, drawn by the seed: the embedding must generalise to unseen classes. The
    queries are one vendor's pictures of the tested emoji, the gallery the other's, so each query has one answer
    (several with ``skin_tones: same_class``). Emoji that share their picture with another, as flags and families do,
    are left out except for the first of them.

    Attributes:
        query: the vendor whose pictures are the queries; the other's are the gallery.
        test_share: share of the emoji that are tested and do not train.
        skin_tones: the five skin tones of a person or hand are nearly the same picture: ``leave_out`` drops them,
            ``same_class`` takes them as further pictures of the emoji.
    """

    # Google's pictures are Noto's (Apache-2.0), Twitter's are Twemoji's (CC-BY-4.0).
    images_license: ClassVar[str | None] = "Apache-2.0 AND CC-BY-4.0"

    image_size: ImageSize = 64
    query: Vendor = "google"
    test_share: TestShare = 0.2
    skin_tones: Literal["leave_out", "same_class"] = "leave_out"

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        other: Vendor = "twitter" if self.query == "google" else "google"
        pictures = self._pictures(root)
        files = {vendor: [_folder(root, vendor) / picture for _, picture in pictures] for vendor in (self.query, other)}
        kept = np.intersect1d(drop_duplicates(files[self.query]), drop_duplicates(files[other]))
        names = [pictures[row][0] for row in kept]
        classes = tuple(sorted(set(names)))
        number = {name: label for label, name in enumerate(classes)}
        labels = np.array([number[name] for name in names], dtype=np.int64)
        _, tested = random_split(len(classes), self.test_share, seed)
        if not 1 < len(tested) < len(classes) - 1:
            raise BadInput(
                f"data.test_share={self.test_share}: of {len(classes)} emoji {len(tested)} would be tested, but two or "
                "more must train and be tested; set another share"
            )
        held_out = np.isin(labels, tested)

        def samples(vendors: tuple[Vendor, ...], rows: np.ndarray) -> Samples:
            chosen = [files[vendor][kept[row]] for vendor in vendors for row in rows]
            return file_samples(chosen, np.tile(labels[rows], len(vendors)), root)

        return Splits(
            classes,
            train=samples((self.query, other), np.flatnonzero(~held_out)),
            test=samples((self.query,), np.flatnonzero(held_out)),
            duplicates=2 * (len(pictures) - len(kept)),
            gallery=samples((other,), np.flatnonzero(held_out)),
        )

    def _pictures(self, root: Path) -> list[tuple[str, str]]:
        """(emoji, file name) of every picture that both vendors have, in the order of the code points."""
        table = root / self.query / "emoji.json"
        missing = [path for vendor in ("google", "twitter") if not (path := _folder(root, vendor)).is_dir()]
        if missing or not table.is_file():
            raise not_found(
                "emoji",
                [*missing, *([] if table.is_file() else [table])],
                "unpack the npm packages emoji-datasource-google and emoji-datasource-twitter "
                "(https://github.com/iamcal/emoji-data) there as google/ and twitter/",
            )
        try:
            entries: list[dict[str, Any]] = parse_json(read_text(table, _MOST_BYTES))
            found = []
            for entry in sorted(entries, key=lambda entry: str(entry["unified"])):
                tones = entry.get("skin_variations", {}).values() if self.skin_tones == "same_class" else ()
                found += [
                    (str(entry["short_name"]), str(picture["image"]))
                    for picture in (entry, *tones)
                    if picture["has_img_google"] and picture["has_img_twitter"]
                ]
            if strange := [name for _, name in found if Path(name).name != name]:
                raise ValueError(f"{strange[0]!r} is no file name")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{table}: not the table of an emoji-datasource package ({error!r}); get it again"
            ) from error
        return found


def _folder(root: Path, vendor: str) -> Path:
    return root / vendor / "img" / vendor / "64"
