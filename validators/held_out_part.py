"""Choose a part of the held-out images for a runtime that is too slow for all of them, such as an emulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compress.contracts import HeldOut, ImageSet, Observation
from validators._sampling import evenly

MAX_QUERIES, MAX_GALLERY = 500, 2000
"""Size of the sample with which pairs of artifacts are compared; a part is taken from it."""


@dataclass(frozen=True)
class HeldOutPart:
    """Rows of the held-out images: int64, ascending. With leave-one-out both are the same array."""

    queries: np.ndarray
    gallery: np.ndarray

    def of(self, held_out: HeldOut) -> HeldOut:
        """These images, with the relevant images among them."""
        queries = _rows(held_out.queries, self.queries)
        return replace(
            held_out,
            queries=queries,
            gallery=queries if held_out.leave_one_out else _rows(held_out.gallery, self.gallery),
            ground_truths={
                name: truth.among(self.queries, self.gallery) for name, truth in held_out.ground_truths.items()
            },
        )

    def observed(self, observation: Observation) -> Observation:
        """One model's embeddings of these images. Its mAP is not known: that of all images is another one."""
        queries = observation.queries[self.queries]
        same = observation.gallery is observation.queries
        gallery = queries if same else observation.gallery[self.gallery]
        return replace(observation, queries=queries, gallery=gallery, mean_ap=None)

    def note(self, held_out: HeldOut) -> str:
        """The sentence that says how much was executed."""
        of = f"{len(self.queries)} of {len(held_out.queries)} queries"
        if not held_out.leave_one_out:
            of += f" and {len(self.gallery)} of {len(held_out.gallery)} gallery images"
        return f"executed on {of}, because it is slow here; mAP_drop compares with PyTorch on the same images"


def sampled(held_out: HeldOut) -> HeldOutPart:
    """An evenly spaced sample of the queries and of the gallery."""
    queries = evenly(len(held_out.queries), MAX_QUERIES)
    return HeldOutPart(queries, queries if held_out.leave_one_out else evenly(len(held_out.gallery), MAX_GALLERY))


def affordable_part(held_out: HeldOut, most_pixels: int | None, most_images: int | None = None) -> HeldOutPart | None:
    """Choose at most so many images of at most so many pixels in all, from the sample; None if all are few enough.

    Every query keeps a relevant image if the sample has one, because a query without any counts for nothing. At least
    one query is chosen. With several scales the gallery is PyTorch's own and stays whole.
    """
    _, height, width, _ = held_out.probes.shape
    limits = [] if most_pixels is None else [most_pixels // (height * width)]
    limits += [] if most_images is None else [most_images]
    if not limits:
        return None
    most = max(2, min(limits))
    separate = not held_out.leave_one_out and not held_out.multi_scale
    if len(held_out.queries) + separate * len(held_out.gallery) <= most:
        return None
    whole = sampled(held_out)
    if held_out.multi_scale:
        return HeldOutPart(_some(whole.queries, most), np.arange(len(held_out.gallery)))
    if held_out.leave_one_out:
        if len(whole.queries) <= most:
            return whole
        seeds = _some(whole.queries, most // 2)
        rows = _filled(np.union1d(seeds, _answers(held_out, seeds, whole.queries)), whole.queries, most)
        return HeldOutPart(rows, rows)
    queries = _some(whole.queries, most // 4)
    answers = _answers(held_out, queries, whole.gallery)
    return HeldOutPart(queries, _filled(answers, whole.gallery, most - len(queries)))


def _rows(images: ImageSet, rows: np.ndarray) -> ImageSet:
    return ImageSet(images.images[rows], images.labels[rows], tuple(images.ids[row] for row in rows))


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    chosen: np.ndarray = rows[evenly(len(rows), max(1, most))]
    return chosen


def _filled(rows: np.ndarray, others: np.ndarray, most: int) -> np.ndarray:
    """``rows`` with as many of ``others`` as fit, evenly spaced."""
    free = np.setdiff1d(others, rows)
    if len(rows) >= most or not len(free):
        return rows
    return np.union1d(rows, _some(free, most - len(rows)))


def _answers(held_out: HeldOut, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """For each query one relevant row of ``gallery``, if it has any: int64, ascending, each once."""
    found = []
    for query in queries:
        if held_out.ground_truth is not None:
            relevant = np.intersect1d(held_out.ground_truth.relevant[query], gallery)
        else:
            relevant = gallery[held_out.gallery.labels[gallery] == held_out.queries.labels[query]]
            if held_out.leave_one_out:
                relevant = relevant[relevant != query]
        # The next one after the query, so that the queries of one class do not all share an answer.
        found += [relevant[np.searchsorted(relevant, query) % len(relevant)]] if len(relevant) else []
    return np.unique(np.array(found, np.int64))
