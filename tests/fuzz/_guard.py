"""What holds for every hostile input: no traceback, no hang, little memory, nothing outside touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings

from compress.contracts import CompressError

SECONDS, KILOBYTES = 20, 2_000_000
WAITING_SECONDS = 120
"""A busy machine stretches time: 20 s are of the processor, and whoever waits for something else has longer."""
INPUTS = int(os.environ.get("FUZZ_INPUTS", "25"))
"""Over all files of this folder; CI tries 1,000 besides, and ``make fuzz`` 10,000."""

_opened: set[str] | None = None


def share(part: float) -> settings:
    """Settings of a test that has this part of the inputs; the same inputs in every run."""
    return settings(
        max_examples=max(1, round(INPUTS * part)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event in ("open", "sqlite3.connect", "os.listdir", "os.scandir", "os.rename"):
        _opened.update(os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | Path))


sys.addaudithook(_note)


def _late(signal_number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def _memory(kind: str) -> int:
    """Kilobytes that this process holds (``VmRSS``), or held at most since ``_since_now`` (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def _since_now() -> int:
    """Begin the peak anew, which tests before this one may have raised; what is held now, in kilobytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _memory("VmRSS")


@contextmanager
def guarded(outside: Path | None = None) -> Iterator[list[CompressError]]:
    """Fails on any error that is not one for people, after 20 s, above 2 GB, and where ``outside`` was touched.

    Gives the error in which the block ended, if it did.
    """
    global _opened
    found: list[CompressError] = []
    before = _contents(outside)
    held = _since_now()
    _opened = set()
    previous = {number: signal.signal(number, _late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITING_SECONDS)
    try:
        yield found
    except CompressError as error:
        found.append(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in previous.items():
            signal.signal(number, handler)
        opened, _opened = _opened, None
    assert _memory("VmHWM") - held < KILOBYTES
    if outside is not None:
        assert not [path for path in opened if Path(path).is_relative_to(outside)]
        assert _contents(outside) == before


def _contents(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
