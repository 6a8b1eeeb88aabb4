"""The child's half of ``compress.system.child``: ``python -m compress.system.child_main SCRATCH [DENIED]``.

DENIED is what ``compress.system.confined`` denied to an emulator; without it this process confines itself.

The interpreter may be an older Python that has NumPy and annotated-types, and no other library of ours.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.system import sandbox

TASK, RESULT, PRINTED = "task.json", "result.json", "printed"
BEGIN = b"\n"
"""What the parent writes to stdin, once, when all that the child reads is there."""


def main(scratch: Path, denied: str | None = None) -> int:
    """Do the task in the folder; 0 when its result is there."""
    task = json.loads((scratch / TASK).read_text(encoding="utf-8"))
    if denied is None:
        writable = [Path(each) for each in task["writable"]]
        sandbox.confine(scratch, writable, own_sockets=task["own_sockets"])
    else:
        sandbox.inherit(denied.split(","))
    import compress.system.files  # noqa: F401 - it brings NumPy, which starts threads

    if os.read(0, 1) != BEGIN:
        _clean_up_and_end(scratch)
    watch_parent(scratch)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort must not leave gigabytes behind
    return do(task, scratch)


def do(task: Mapping[str, Any], scratch: Path) -> int:
    """Call the task's function and write its result, or its error, to the folder; 0 if it gave a result."""
    from compress.system.files import write_text

    try:
        module, _, name = task["function"].partition(":")
        result = {"value": getattr(importlib.import_module(module), name)(task["job"], scratch)}
    except Exception as error:
        result = {"failure": f"{type(error).__name__}: {error}"}
    write_text(scratch / RESULT, json.dumps(result))
    return 1 if "failure" in result else 0


def watch_parent(scratch: Path) -> None:
    """End this process when the parent has gone, however it went.

    The parent holds the other end of stdin open and writes no more, so the read below returns only when the
    kernel closes that end. Linux could signal instead (PR_SET_PDEATHSIG), but macOS can't, and that signal
    also fires when only the parent's *thread* ends.
    """

    def wait() -> None:
        os.read(0, 1)  # sys.stdin would hold a lock that the interpreter's shutdown needs
        _clean_up_and_end(scratch)

    threading.Thread(target=wait, daemon=True).start()


def _clean_up_and_end(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
