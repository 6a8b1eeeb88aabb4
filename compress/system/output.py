"""Print text from data safely escaped, and keep working after stdout or stderr was closed."""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from compress.contracts import MissingTool


def printable(text: object, most: int | None = None) -> str:
    """Put ``text`` on one line and escape every character that moves, hides or reorders others.

    Terminal sequences, line ends, bidirectional overrides and zero-width characters come out as ``\\x1b``, ``\\n``,
    ``\\u202e``.

    Args:
        most: of a longer text the middle is left out.
    """
    shown = "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else repr(character)[1:-1]
        for character in str(text)
    )
    if most is None or len(shown) <= most:
        return shown
    return f"{shown[: most // 2]} … {shown[-most // 2 :]}"


def line(text: object, file: TextIO | None = None) -> None:
    """Print ``text`` on one line, escaped, to ``file`` or to stdout."""
    print(printable(text), file=file)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within the block, a closed stdout or stderr does not stop the work.

    If nobody reads stdout or stderr any more (``compress … | head -1``), the rest of the output is dropped, and the
    exit code is that of the work. Characters that a stream's encoding lacks are escaped.

    Raises:
        SystemExit: with the code of ``MissingTool`` instead of 0 if stdout could not be written, as on a full disk.
    """
    before = sys.stdout, sys.stderr
    out, err = _Lasting(sys.stdout), _Lasting(sys.stderr)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield
    except SystemExit as end:
        out.flush()
        if end.code in (None, 0) and out.lost is not None:
            print(f"compress: stdout: {out.lost}; what was printed is incomplete", file=err)
            raise SystemExit(MissingTool.exit_code) from end
        raise
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


class _Lasting:
    """A text stream that never raises OSError.

    Attributes:
        lost: why something could not be written, other than that nobody reads any more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # A process started with a closed stdout has none.
        self._stream: Any = stream if stream is not None else open(os.devnull, "w")  # noqa: PTH123, SIM115
        self.lost: str | None = None
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.lost = error.strerror or str(error)
        # What the stream still holds must go somewhere, now and when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()
