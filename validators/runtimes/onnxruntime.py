"""ONNX files on ONNX Runtime's CPU kernels."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from compress.contracts import Embedder, OperatorTime
from validators.runtimes._arm import ArmRuntime
from validators.runtimes._batches import MAX_IMAGES, WARM_UP, channels_first, in_batches
from validators.runtimes._installed import missing, version_of


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime(ArmRuntime):
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})
    package: ClassVar[str] = "onnxruntime"
    imports: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    profiles: ClassVar[bool] = True

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls(), cls(arm=True)

    def unavailable(self) -> str | None:
        return self.not_emulated() if self.emulated else missing("onnxruntime", "compress-retrieval[verify]")

    def version(self) -> str:
        return self.emulated_version() if self.emulated else version_of("onnxruntime", "onnxruntime-gpu")

    def open(self, path: Path, threads: int) -> Embedder:
        return _embedder(_session(path, threads))

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        with tempfile.TemporaryDirectory() as folder:
            session = _session(path, threads, f"{folder}/profile")
            embed = _embedder(session)
            for _ in range(WARM_UP + runs):
                embed(image)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        timed: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                timed[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
        found: dict[str, list[float]] = defaultdict(list)
        for (operator, _), milliseconds in timed.items():
            found[operator].append(sum(milliseconds[WARM_UP:]) / runs)
        return [OperatorTime(operator, len(nodes), sum(nodes)) for operator, nodes in found.items()]


def _session(path: Path, threads: int, profile: str | None = None) -> Any:
    """Open a session; ``profile`` is the beginning of the path of a profile to write."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _embedder(session: Any) -> Embedder:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(outputs) != 1:
        found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise ValueError(f"expected one input, uint8 [N,3,H,W], and one output, found: {found}; {len(outputs)} outputs")
    name, fixed_batch = inputs[0].name, inputs[0].shape[0]

    def embed(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(None, {name: channels_first(images)})[0]
        return found

    return in_batches(embed, fixed_batch if isinstance(fixed_batch, int) else MAX_IMAGES)
