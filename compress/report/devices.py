"""The table of what phones and other devices measured themselves."""

from __future__ import annotations

from dataclasses import dataclass

from compress.bundle.manifest import Entry
from compress.bundle.processors import where
from compress.report.numbers import NOTHING, megabytes, milliseconds, percent
from compress.report.source import Source
from validators.results import Device


@dataclass(frozen=True)
class DeviceRow:
    """One artifact on one device; numbers as text, ``-`` if nothing was measured."""

    device: str
    system: str
    artifact: str
    runtime: str
    measured: str
    pipeline: str
    pipeline_p95: str
    load: str
    peak: str
    delegated: str


def device_rows(source: Source) -> list[DeviceRow]:
    """Make the rows, in the order of the manifest."""
    return [_row(entry, entry.device) for entry in source.entries if entry.device is not None]


def _row(entry: Entry, device: Device) -> DeviceRow:
    times = device.pipeline_ms
    return DeviceRow(
        device=where(entry),
        system=device.system,
        artifact=f"{entry.suffix} {entry.precision}",
        runtime=entry.runtime_version or entry.runtime,
        measured=f"{device.measured_at}, {device.measured_by}",
        pipeline=NOTHING if times is None else milliseconds(times.median),
        pipeline_p95=NOTHING if times is None else milliseconds(times.p95),
        load=milliseconds(device.load_ms),
        peak=NOTHING if device.peak_bytes is None else megabytes(device.peak_bytes),
        delegated=percent(device.delegate_share),
    )
