"""Hide the output of converters and their C++ libraries unless they fail."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back everything the process prints inside the block; it is printed if the block raises an error."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as held_back, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = {number: os.dup(number) for number in (1, 2)}
        handlers = list(logging.root.handlers)
        try:
            for number in saved:
                os.dup2(held_back.fileno(), number)
            # In a notebook, Python's streams are not the descriptors to which the libraries write.
            with os.fdopen(os.dup(1), "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
                yield
        except Exception:
            os.write(saved[2], _content(held_back.fileno()))
            raise
        finally:
            # The first library to log makes a handler that keeps writing to the stream of this block.
            logging.root.handlers[:] = handlers
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


def _content(descriptor: int) -> bytes:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return os.pread(descriptor, 1 << 20, 0)
