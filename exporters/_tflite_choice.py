"""Measure w8a8 .tflite files with more and more of their operations in float."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.contracts import Candidates, DeployGraph, Timer
from exporters._float_locations import Files, Location, Tried, choice_record, tried
from exporters._mixed import MixedPrecision
from exporters._tflite_metadata import with_end_names, with_metadata
from exporters._tflite_quantize import Integers, embedded


def tried_files(
    content: bytes, graph: DeployGraph, exporter: MixedPrecision, timer: Timer | None, folder: Path
) -> list[Tried]:
    """Measure files made of the float file ``content``.

    Args:
        timer: for ``max_ms``.
        folder: for files that are timed.
    """
    assert graph.calibration is not None
    integers = Integers(content, graph)

    def published(written: bytes, kept: Sequence[Location], neighbours: float) -> bytes:
        record = {**integers.summary(written), **choice_record(kept, neighbours)}
        return with_metadata(with_end_names(written), {**graph.metadata, "quantization": record})

    def milliseconds(written: Sequence[bytes]) -> list[float]:
        assert timer is not None
        paths = [folder / f"{number}.tflite" for number in range(len(written))]
        for path, each in zip(paths, written, strict=True):
            path.write_bytes(each)
        (times,) = timer([Candidates(graph.input_size, tuple(paths))])
        return times

    return tried(
        Files(
            [each for some in integers.locations.values() for each in some],
            content,
            integers.alone,
            integers.mixed,
            published,
            embedded,
        ),
        graph.calibration,
        graph.metadata.get("distance", "l2"),
        exporter.float_tolerance or 0.0,
        None if exporter.max_ms is None else milliseconds,
    )
