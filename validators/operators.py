"""Where an artifact's time goes, by operator: ``python -m validators.operators RUNTIME ARTIFACT IMAGE.npy THREADS``.

``operators`` runs that in a child process, because a runtime may abort. Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from compress import plugins
from compress.contracts import OperatorTime, Runtime

RUNS, TIMEOUT_S = 30, 600


def operators(runtime: Runtime, artifact: Path, image: np.ndarray, threads: int) -> list[OperatorTime] | str:
    """The operators that ran, the slowest first, or in one line why there are none.

    Args:
        image: uint8 [1, H, W, 3].
    """
    if not runtime.profiles:
        return f"{runtime.package} offers no profile by operator in Python"
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        file = Path(folder) / "image.npy"
        np.save(file, image)
        words = [runtime.component_name(), str(artifact.absolute()), str(file), str(threads)]
        try:
            # -P: a folder of the user's called 'validators' is not ours.
            done = subprocess.run(
                [runtime.interpreter(), "-P", "-m", __name__, *words],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return f"the profile was not done within {TIMEOUT_S} s"
    if done.returncode != 0:
        return f"no profile: {(done.stderr.strip().splitlines() or ['the process printed nothing'])[-1]}"
    return [OperatorTime(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def main(name: str, artifact: str, image: str, threads: str) -> None:
    runtime = plugins.find(Runtime, name)()
    found = runtime.profile(Path(artifact), np.load(image), int(threads), RUNS)
    found = sorted(found, key=lambda each: -each.milliseconds)
    print(json.dumps([vars(each) for each in found]))


if __name__ == "__main__":
    main(*sys.argv[1:])
