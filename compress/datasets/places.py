"""Place recognition: photographs of places in folders, queries and a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Dataset, Samples, Splits
from compress.datasets._files import file_samples, not_found
from compress.datasets._listing import skipped_ids, subfolders
from compress.datasets._tree import Tree, all_left_out, read_tree

_QUERY, _DATABASE = ("query", "queries"), ("database", "gallery")


@dataclass(frozen=True, kw_only=True)
class Places(Dataset):
    """``root``/query/PLACE/** and ``root``/database/PLACE/**; ``root``/train/PLACE/** trains, otherwise the database.

    A photograph is relevant if it shows the query's place. A place that is only in the query folder cannot be found:
    its queries are left out of every mean and counted. The folders may also be called queries and gallery.
    """

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        by_name = {path.name.lower(): path for path in subfolders(root)} if root.is_dir() else {}
        asking, found, training = (
            next((by_name[name] for name in names if name in by_name), None)
            for names in (_QUERY, _DATABASE, ("train",))
        )
        if asking is None or found is None:
            raise not_found(
                "places",
                [root / _QUERY[0], root / _DATABASE[0]],
                "put the photographs to ask with there as query/CLASS/*.jpg, those to be found as database/CLASS/*.jpg",
            )
        queries, gallery = read_tree(asking), read_tree(found)
        train = read_tree(training) if training is not None else gallery
        trees = (queries, gallery, train)
        classes = tuple(sorted({name for tree in trees for name in tree.images}))

        def samples(tree: Tree) -> Samples:
            return file_samples(*tree.labelled(classes), root)

        return Splits(
            classes,
            samples(train),
            samples(queries),
            gallery=samples(gallery),
            skipped=skipped_ids(all_left_out(trees), root),
        )
