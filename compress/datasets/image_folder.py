"""Any folder of photographs by class: CLASS/**, or train/CLASS/** and test/CLASS/**."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Dataset, Splits, TestShare
from compress.datasets._files import not_found
from compress.datasets._tree import read_divided, read_whole, split_folders


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Your own images: whatever Pillow decodes, whatever its name.

    Everything else is left out and named in the log, by ``--dry-run`` and in bundle.json: RAW photographs, HEIC without
    ``compress-retrieval[heif]``, videos, sidecars, hidden files, folders of systems and photo programs, files outside
    class folders.

    Folders ``train`` and ``test`` are taken as they are, ``validation`` (``val``, ``valid``) joins the training
    images; without ``test`` it is the test set. If no class of ``test`` is in ``train`` (an open set, as in CUB or
    Stanford Online Products), some training classes choose the best weights. Anything else is divided at random within
    each class.

    Attributes:
        test_share: share of each class that is held out as queries and gallery, where there is no folder for it.
        drop_duplicates: leave out exact copies of a file, which would be found too easily.
    """

    test_share: TestShare = 0.2
    drop_duplicates: bool = True

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise not_found(
                "image_folder",
                [root],
                "name a folder that holds the images of each class in a folder of their own, CLASS/*.jpg",
            )
        if divided := self.divided():
            return read_divided(root, *divided, deduplicate=self.drop_duplicates)
        return read_whole(root, self.test_share, seed, deduplicate=self.drop_duplicates)

    def divided(self) -> tuple[list[Path], Path] | None:
        """The folders of training images and the folder of test images; None if the root is not divided so."""
        return split_folders(Path(self.root).expanduser())
