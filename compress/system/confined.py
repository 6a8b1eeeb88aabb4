"""``python -m compress.system.confined SCRATCH COMMAND...``: become COMMAND, confined as the task in SCRATCH says.

An emulator passes on no system call that confines a process, so it is confined before it starts. What holds is added to
COMMAND as one more argument, because the emulated process could not find out. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from compress.system import sandbox
from compress.system.child_main import TASK


def main(scratch: Path, command: Sequence[str]) -> None:
    """Confine this process, then replace it with ``command``."""
    task = json.loads((scratch / TASK).read_text(encoding="utf-8"))
    writable = [Path(each) for each in task["writable"]]
    sandbox.confine(scratch, writable, own_sockets=task["own_sockets"])
    os.execv(command[0], [*command, ",".join(sandbox.held())])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
