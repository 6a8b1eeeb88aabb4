"""Which queries are shown, what counts as right, and which artifacts are said to differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.gallery.store import GALLERY, read_gallery
from compress.report.queries import Examples, examples
from compress.report.retrieval import models
from compress.report.source import Source, read_source
from tests.report import _bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_images: np.ndarray) -> Source:
    return read_source(_bundle.write(tmp_path_factory.mktemp("bundle"), digit_images))


@pytest.fixture(scope="module")
def found(source: Source) -> Examples:
    result = examples(source)
    assert result is not None
    return result


def test_one_query_of_each_class(found: Examples) -> None:
    assert [query.label for query in found.queries] == list(_bundle.CLASSES)


def test_right_means_the_query_s_class(found: Examples, source: Source) -> None:
    gallery = read_gallery(source.folder / GALLERY)
    label_of = dict(zip(gallery.names, gallery.labels, strict=True))
    seen = set()
    for query in (*found.queries, *(q for difference in found.differences for q in difference.queries)):
        for ranking in query.rankings:
            assert [each.rank for each in ranking.found] == list(range(1, 11))
            for each in ranking.found:
                assert each.label == label_of[each.name]
                assert each.right == (label_of[each.name] == query.label)
                assert each.picture is not None
                seen.add(each.right)
    assert seen == {True, False}


def test_only_an_artifact_that_ranks_otherwise_differs(found: Examples, source: Source) -> None:
    assert found.agreeing == (".tflite fp32", ".tflite fp32 · tflite_runtime")
    (difference,) = found.differences
    assert difference.model == ".tflite fp16"
    assert source.rankings is not None
    tops = {(model.path, model.runtime): model.top for _, model in models(source)}
    pairs = list(zip(tops["pytorch", None], tops["artifacts/pooled.fp16.tflite", "litert"], strict=True))
    others = [set(a) != set(b) for a, b in pairs]
    assert difference.other_images == sum(others)
    assert difference.other_images + difference.other_order == sum(a != b for a, b in pairs)
    # The first shown shares fewest images with PyTorch.
    names = [{each.name for each in ranking.found} for ranking in difference.queries[0].rankings]
    assert len(names[0] & names[1]) == min(len(set(a) & set(b)) for a, b in pairs)


def test_where_the_data_set_lists_what_is_relevant_right_means_listed(source: Source) -> None:
    assert source.rankings is not None
    ranked = models(source)[0][1].top
    # The first of each ten is listed, whatever its class.
    asked = tuple(
        query.model_copy(update={"relevant": (top[0],)})
        for query, top in zip(source.rankings.queries, ranked, strict=True)
    )
    listed = examples(replace(source, rankings=source.rankings.model_copy(update={"queries": asked})))
    assert listed is not None
    marks = [[each.right for each in query.rankings[0].found] for query in listed.queries]
    assert marks == [[True] + [False] * 9] * len(listed.queries)
