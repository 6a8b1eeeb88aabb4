"""The file that the samples write on a phone: its types and its one reader.

It holds embeddings of the golden images, not scores: parity, neighbours and verdicts are computed where the file is
imported.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from compress.contracts import BadInput, Processor
from compress.system.bounded_reading import parse_json, read_text
from validators.results import Part

SCHEMA = 1
MOST_BYTES = 256 * 2**20
"""Embeddings of 64 images in 4,096 values are 1.4 MB per artifact."""

_FLOAT = np.dtype("<f4")


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("needs plain text on one line, without spaces around it")
    return text


def _day(text: str) -> str:
    datetime.date.fromisoformat(text)
    return text


Words = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Reason = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Milliseconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]


class MeasuredDevice(Part):
    """The device.

    Attributes:
        model: maker and model, such as ``Google Pixel 8``.
        system: operating system and its version, such as ``Android 16``.
    """

    model: Words
    system: Words


class MeasuredRuntime(Part):
    """The library that executed the files.

    Attributes:
        name: its name, such as ``litert``.
        version: its version, such as ``2.1.0``.
    """

    name: Words
    version: Words


class MeasuredBy(Part):
    """Who measured, and when.

    Attributes:
        by: a person or a team.
        at: the day, as YYYY-MM-DD.
    """

    by: Words
    at: Day


class DeviceTime(Part):
    """A time over repeated runs with one image each, after warm-up.

    Attributes:
        median, p95: median and 95th percentile in milliseconds.
    """

    median: Milliseconds
    p95: Milliseconds

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p95 < self.median:
            raise ValueError("p95 is less than the median")
        return self


class DeviceLatency(DeviceTime):
    """The time of the network alone.

    Attributes:
        threads: number of threads of the runtime.
    """

    threads: Annotated[int, Field(ge=1, le=1024)]


class GoldenEmbeddings(Part):
    """What the artifact gave for the golden images, in their order.

    Attributes:
        shape: number of images and of values, ``[P, D]``.
        base64: the values, float32 little-endian, row by row, in base64.
    """

    shape: tuple[int, int]
    base64: str

    def array(self) -> np.ndarray:
        """float32 [P, D]. Raises ValueError for text that is no base64, another length, NaN or infinity."""
        try:
            content = base64.b64decode(self.base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"base64: {error}") from error
        images, values = self.shape
        if min(self.shape) < 1 or len(content) != images * values * _FLOAT.itemsize:
            raise ValueError(f"{len(content)} bytes are not float32 {list(self.shape)}")
        found = np.frombuffer(content, _FLOAT).reshape(self.shape)
        if not np.isfinite(found).all():
            raise ValueError("NaN or infinity")
        return found


class MeasuredArtifact(Part):
    """One artifact on one processor of the device: ``embeddings``, or ``failure`` if it did not run.

    Attributes:
        path: its path in the bundle, for people to read.
        sha256: its sha256, computed on the device; a folder's as ``docs/bundle.md`` defines it.
        processor: ``arm``, ``x86``, ``gpu``, ``npu`` or ``browser``.
        failure: why the runtime did not execute it.
        embeddings: its embeddings of the golden images.
        latency_ms: time of the network alone.
        pipeline_ms: time from an image file to its nearest gallery images: decoding, pixels, network, search.
        load_ms: milliseconds from opening the file to its first embedding.
        peak_bytes: most memory that the process had.
        delegate_share: share of the operations that the accelerator executed.
    """

    path: Words
    sha256: Sha256
    processor: Processor
    failure: Reason | None = None
    embeddings: GoldenEmbeddings | None = None
    latency_ms: DeviceLatency | None = None
    pipeline_ms: DeviceTime | None = None
    load_ms: Milliseconds | None = None
    peak_bytes: Annotated[int, Field(ge=1)] | None = None
    delegate_share: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _ran_or_failed(self) -> Self:
        if (self.failure is None) == (self.embeddings is None):
            raise ValueError("give embeddings, or failure if it did not run; not both")
        return self


class DeviceResults(Part):
    """The content of a file of device results.

    Attributes:
        schema: 1.
        golden_sha256: sha256 of the bundle's golden/images.u8, computed on the device.
        device: the device.
        runtime: the library that executed the artifacts.
        measured: who measured, and when.
        artifacts: one entry per artifact and processor.
    """

    schema_number: int = Field(validation_alias="schema", serialization_alias="schema")
    golden_sha256: Sha256
    device: MeasuredDevice
    runtime: MeasuredRuntime
    measured: MeasuredBy
    artifacts: Annotated[tuple[MeasuredArtifact, ...], Field(min_length=1, max_length=1000)]


def read_device_results(path: Path) -> tuple[DeviceResults, str]:
    """Read a file of device results; also returns the sha256 of its text.

    Raises:
        BadInput: it is missing, too large, no such file, or written for a newer Compress.
    """
    text = read_text(path, MOST_BYTES)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise BadInput(f"{path}: no device results ({error}); the samples in examples/ write them") from error
    number = content.get("schema") if isinstance(content, dict) else None
    if type(number) is not int:
        raise BadInput(f"{path}: no device results (no schema number); the samples in examples/ write them")
    if number != SCHEMA:
        raise BadInput(f"{path}: schema {number}, this Compress reads {SCHEMA}; use the samples that belong to it")
    try:
        return DeviceResults.model_validate_json(text), hashlib.sha256(text.encode()).hexdigest()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise BadInput(f"{path}: {where}: {problem['msg']}; measure again with the samples in examples/") from error
