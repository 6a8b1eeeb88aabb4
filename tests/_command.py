"""The command line in a process of its own, as users start it, or within the test, which saves loading PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from compress.cli import main

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ended:
    """Attributes: code: the exit status; stdout, stderr: what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that found something wrong before it began to work."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("compress: ")
        return lines[0].removeprefix("compress: ")


def start(
    *arguments: str | Path, without: Sequence[str] = (), folder: Path = REPOSITORY, **variables: str
) -> subprocess.Popen[str]:
    """Start ``compress`` in ``folder`` and in a process group of its own.

    Args:
        without: packages that it shall not find.
        variables: environment variables to set.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    if without:
        path = [str(REPOSITORY / "tests/_without"), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"HIDDEN_PACKAGES": ",".join(without), "PYTHONPATH": os.pathsep.join(path)}
    return subprocess.Popen(
        [sys.executable, "-m", "compress", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def compress(*arguments: str | Path, without: Sequence[str] = (), folder: Path = REPOSITORY, **variables: str) -> Ended:
    """Run ``compress`` to its end; no end of it may be a traceback."""
    with start(*arguments, without=without, folder=folder, **variables) as process:
        stdout, stderr = process.communicate()
    assert "Traceback" not in stderr, stderr
    return Ended(process.returncode, stdout, stderr)


def compress_here(*arguments: str | Path) -> Ended:
    """The same within this process."""
    stdout, stderr = StringIO(), StringIO()
    code = 0
    with patch("sys.argv", ["compress", *map(str, arguments)]), redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(code, stdout.getvalue(), stderr.getvalue())
