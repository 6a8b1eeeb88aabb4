"""The child's half of ``validators.fork_server``: import libraries once, and fork a process for every job.

Each request is a line of JSON: ``imports``, as in ``Runtime``; ``job``, that of
``validators.child.run``; ``scratch``, the folder in which it finds images and leaves results. Each answer is
``{"status"}``, the exit status of the process that did the job.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from compress.system.child_main import PRINTED, do, watch_parent


def serve(job: Mapping[str, Any], scratch: Path) -> None:
    """Answer requests until the parent ends this process.

    Args:
        job: ``socket``, the number of the open file.
    """
    with socket.socket(fileno=job["socket"]) as connection:
        requests = connection.makefile("rb")
        while line := requests.readline():
            request = json.loads(line)
            for name in request["imports"]:
                module, _, function = name.partition(":")
                with suppress(ImportError):  # the job meets the same error, and reports it
                    loaded = importlib.import_module(module)
                    if function:
                        getattr(loaded, function)()
            status = _forked(request["job"], Path(request["scratch"]), scratch)
            connection.sendall(json.dumps({"status": status}).encode() + b"\n")
        signal.pause()  # the parent has ended; the thread that watches it removes ``scratch`` and ends this process


def _forked(job: Mapping[str, Any], folder: Path, scratch: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the other thread only waits for the parent's end
        process = os.fork()
    if process == 0:
        status = 1
        try:
            watch_parent(scratch)
            with (folder / PRINTED).open("wb", buffering=0) as printed:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
            status = do({"function": "validators.child:run", "job": job}, folder)
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)
