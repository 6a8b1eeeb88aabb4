"""Profile an artifact: its time by operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import OperatorTime, Runtime
from compress.system.child import ChildFailed, child
from validators.child import job_for, runtime_of

RUNS, TIMEOUT_S = 30, 600
_IMAGE = "image.npy"


def operators(runtime: Runtime, artifact: Path, image: np.ndarray, threads: int) -> list[OperatorTime] | str:
    """Profile one run: the operators, the slowest first, or one line that says why there is no profile.

    Args:
        image: uint8 [1, H, W, 3].
    """
    if not runtime.profiles:
        return f"{runtime.package} offers no profile by operator in Python"
    job = job_for(runtime, artifact=str(artifact.absolute()), threads=threads)
    try:
        with child(_profile, job, interpreter=runtime.interpreter(), threads=threads) as started:
            np.save(started.scratch / _IMAGE, image)
            found = [OperatorTime(**each) for each in started.result(TIMEOUT_S)]
    except ChildFailed as failed:
        return f"the profile {failed.line}"
    return sorted(found, key=lambda each: -each.milliseconds)


def _profile(job: Mapping[str, Any], scratch: Path) -> list[dict[str, Any]]:
    found = runtime_of(job).profile(Path(job["artifact"]), np.load(scratch / _IMAGE), job["threads"], RUNS)
    return [asdict(each) for each in found]
