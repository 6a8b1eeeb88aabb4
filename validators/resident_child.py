"""Embed images that arrive on a socket until ``validators.resident``, at the other end, closes it.

Each request is the shape of some images as a line of JSON, then their bytes. Each answer is a line of JSON, either
``{"milliseconds", "bytes"}`` followed by this many bytes of float32, or ``{"failure"}`` alone. Like
``validators.child`` it needs only NumPy and the runtime's library.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from compress.contracts import Embedder, Runtime
from validators.child import checked, embeddings, runtime_of


def serve(job: Mapping[str, Any], scratch: Path) -> None:
    """Answer requests until the parent ends this process.

    Args:
        job: ``artifact``, ``threads``, and ``socket``, the number of the open file.
    """
    with socket.socket(fileno=job["socket"]) as connection:
        runtime = runtime_of(job)
        embed = runtime.open(Path(job["artifact"]), job["threads"])
        warm = False
        for images in _requests(connection.makefile("rb")):
            head, body = _answer(runtime, embed, images, warm)
            warm = True
            connection.sendall(json.dumps(head).encode() + b"\n" + body)
        signal.pause()  # the parent has ended; the thread that watches it removes ``scratch`` and ends this process


def _requests(stream: BinaryIO) -> Iterator[np.ndarray]:
    """Yield images uint8 [N, H, W, 3] as they arrive."""
    while line := stream.readline():
        shape = json.loads(line)
        pixels = stream.read(int(np.prod(shape)))
        yield np.frombuffer(pixels, np.uint8).reshape(shape)


def _answer(runtime: Runtime, embed: Embedder, images: np.ndarray, warm: bool) -> tuple[dict[str, Any], bytes]:
    """Embed ``images`` one by one; the first is embedded twice, because the first run warms the runtime up."""
    try:
        if not warm:
            embeddings(embed, images[:1])
        timed = [runtime.timed_embedding(embed, images[row : row + 1]) for row in range(len(images))]
        found = np.concatenate([checked(given, 1) for given, _ in timed])
        milliseconds = sum(each for _, each in timed)
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"}, b""
    return {"milliseconds": milliseconds, "bytes": found.nbytes}, found.tobytes()
