"""ONNX files on ONNX Runtime's CPU kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, Evidence, Runtime
from validators.runtimes._batches import MAX_IMAGES, channels_first, in_batches
from validators.runtimes._installed import missing, version_of


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime(Runtime):
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})
    evidence: ClassVar[Evidence] = "native"
    package: ClassVar[str] = "onnxruntime"

    def unavailable(self) -> str | None:
        return missing("onnxruntime", "compress-retrieval[verify]")

    def version(self) -> str:
        return version_of("onnxruntime", "onnxruntime-gpu")

    def open(self, path: Path, threads: int) -> Embedder:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(outputs) != 1:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise ValueError(
                f"expected one input, uint8 [N,3,H,W], and one output, found: {found}; {len(outputs)} outputs"
            )
        name, fixed_batch = inputs[0].name, inputs[0].shape[0]

        def embed(images: np.ndarray) -> np.ndarray:
            found: np.ndarray = session.run(None, {name: channels_first(images)})[0]
            return found

        return in_batches(embed, fixed_batch if isinstance(fixed_batch, int) else MAX_IMAGES)
