"""ExecuTorch files (.pte) on ExecuTorch's own runtime and its XNNPACK delegate, in an environment of its own."""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compress.contracts import Acceleration, Embedder, OperatorTime, Runtime
from validators.executorch_environment import EXECUTORCH_PYTHON
from validators.pte_file import operations
from validators.runtimes._batches import WARM_UP, channels_first, in_batches

_SUMS = frozenset({"Method::execute", "DELEGATE_CALL", "OPERATOR_CALL"})
"""Events whose time is also that of the events inside them."""
_UINT8 = 0
_NUMBER = re.compile(r" #\d+$")
_OWN = "native_call_"
ITSELF = "ExecuTorch itself: "
"""Begins the name, in a profile, of an operation that no delegate computes."""


@dataclass(frozen=True, kw_only=True)
class ExecuTorch(Runtime):
    """Executes the method ``forward``.

    Attributes:
        python: the interpreter of the environment with executorch; null takes the environment variable
            COMPRESS_EXECUTORCH_PYTHON. Interpreters in the working folder are not tried, because they may be part of an
            untrusted bundle.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"executorch"})
    package: ClassVar[str] = "executorch"
    profiles: ClassVar[bool] = True

    python: str | None = None

    def interpreter(self) -> str:
        return EXECUTORCH_PYTHON.interpreter(self.python) or sys.executable

    def unavailable(self) -> str | None:
        return EXECUTORCH_PYTHON.unavailable(self.python)

    def version(self) -> str:
        return EXECUTORCH_PYTHON.version(self.python)

    def open(self, path: Path, threads: int) -> Embedder:
        return _Embedder(_loaded(path, threads), path)

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        from executorch.devtools import Inspector

        module = _loaded(path, threads, profile=True)
        embed = _Embedder(module, path)
        for _ in range(WARM_UP + runs):
            embed(image)
        with tempfile.TemporaryDirectory() as folder:
            events = f"{folder}/events.etdp"
            module.write_etdump_result_to_file(events, "")
            blocks = Inspector(etdump_path=events).event_blocks
        found: dict[str, list[float]] = defaultdict(list)
        uses: Counter[str] = Counter()
        for event in (event for block in blocks if block.name == "Execute" for event in block.events):
            if event.perf_data is not None and event.name not in _SUMS:
                name = _NUMBER.sub("", event.name)
                name = f"{ITSELF}{name.removeprefix(_OWN)}" if name.startswith(_OWN) else name
                uses[name] += 1
                found[name] += event.perf_data.raw[WARM_UP:]
        return [OperatorTime(name, uses[name], sum(times) / runs) for name, times in found.items()]

    def acceleration(self, embed: Embedder) -> Acceleration | None:
        assert isinstance(embed, _Embedder)
        delegated, own = operations(embed.path.read_bytes(), "forward")
        others = [f"{name} ({count}): ExecuTorch computes it itself" for name, count in sorted(own.items())]
        return Acceleration(delegated / (delegated + own.total()), tuple(others))


def _loaded(path: Path, threads: int, *, profile: bool = False) -> Any:
    import torch

    # portable_lib, which executorch documents, gives these two and imports the whole converter before: 6 s more.
    from executorch.extension.pybindings._C import _load_for_executorch, _unsafe_reset_threadpool

    torch.set_num_threads(threads)
    _unsafe_reset_threadpool(threads)
    return _load_for_executorch(str(path), enable_etdump=profile)


class _Embedder:
    """Runs the method ``forward`` on one image after the other.

    Attributes:
        path: the file.
    """

    def __init__(self, module: Any, path: Path) -> None:
        """Raises ValueError if the method takes or gives something else."""
        method = module.method_meta("forward")
        counts = method.num_inputs(), method.num_outputs()
        if counts != (1, 1):
            raise ValueError(f"expected one input and one output, found {counts[0]} and {counts[1]}")
        taken = method.input_tensor_meta(0)
        sizes = list(taken.sizes())
        if taken.dtype() != _UINT8 or len(sizes) != 4 or sizes[1] != 3:
            raise ValueError(f"expected an input uint8 [N,3,H,W], found type {taken.dtype()} and {sizes}")
        self.module, self.path = module, path
        self.in_batches = in_batches(self._run, sizes[0])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.in_batches(images)

    def _run(self, images: np.ndarray) -> np.ndarray:
        import torch

        (found,) = self.module.run_method("forward", (torch.from_numpy(channels_first(images)),))
        return np.asarray(found.numpy())
