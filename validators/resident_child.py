"""Embeds images that come over stdin until stdin ends: ``python -m validators.resident_child JOB``.

``validators.resident`` starts it and says what JOB, a JSON object, holds. Each request is the image's shape as a line
of JSON, then its bytes. Each answer is a line of JSON, ``{"milliseconds", "bytes"}`` followed by so many bytes of
float32, or ``{"failure"}`` alone. Like ``validators.child`` it needs NumPy, the runtime's library and nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from compress.contracts import Embedder
from validators.child import clean_up_and_end, embeddings


def requests(stdin: BinaryIO, scratch: Path) -> queue.Queue[np.ndarray]:
    """uint8 [1, H, W, 3] as they come. This process ends with stdin, also in the middle of an image."""
    arrived: queue.Queue[np.ndarray] = queue.Queue()

    def read() -> None:
        while line := stdin.readline():
            shape = json.loads(line)
            pixels = stdin.read(int(np.prod(shape)))
            arrived.put(np.frombuffer(pixels, np.uint8).reshape(1, *shape))
        clean_up_and_end(scratch)

    threading.Thread(target=read, daemon=True).start()
    return arrived


def answer(embed: Embedder, image: np.ndarray, warm: bool) -> tuple[dict[str, Any], bytes]:
    """Embed ``image``, once more where the first run warmed the runtime up."""
    try:
        if not warm:
            embeddings(embed, image)
        start = time.perf_counter()
        found = embeddings(embed, image)
        milliseconds = 1000 * (time.perf_counter() - start)
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"}, b""
    return {"milliseconds": milliseconds, "bytes": found.nbytes}, found.tobytes()


def main() -> None:
    """Answer for ever."""
    # Libraries print to stdout; what they print must not get between the answers.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    job = json.loads(sys.argv[1])
    images = requests(os.fdopen(os.dup(0), "rb"), Path(job["scratch"]))
    module, _, name = job["runtime"].partition(":")
    runtime = getattr(importlib.import_module(module), name)(**job["options"])
    embed = runtime.open(Path(job["artifact"]), job["threads"])
    warm = False
    while True:
        head, body = answer(embed, images.get(), warm)
        warm = True
        replies.write(json.dumps(head).encode() + b"\n" + body)
        replies.flush()


if __name__ == "__main__":
    main()
