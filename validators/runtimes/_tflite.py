"""Run a TFLite interpreter; LiteRT, tflite-runtime and TensorFlow publish the same Python class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Embedder
from validators.runtimes._batches import MAX_IMAGES, in_batches

DYNAMIC = -1  # of a dimension in ``shape_signature``


def open_tflite(interpreter_class: Callable[..., Any], path: Path, threads: int, own_kernels: Any = None) -> Embedder:
    """Load ``path`` with XNNPACK, the default of these interpreters and of apps on phones.

    A file with a fixed batch of 1 is run image by image, because resizing the input would contradict the shapes that
    the converter has written into reshape operations.

    Args:
        own_kernels: the library's ``OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES``, to run without XNNPACK.

    Raises:
        ValueError: the file does not take one uint8 [N, H, W, 3] or the images have another size.
    """
    resolver = {} if own_kernels is None else {"experimental_op_resolver_type": own_kernels}
    interpreter = interpreter_class(model_path=str(path), num_threads=threads, **resolver)
    interpreter.allocate_tensors()
    source, target = _ends(interpreter)
    batch, *size = (int(d) for d in source.get("shape_signature", source["shape"]))
    if source["dtype"] is not np.uint8 or len(size) != 3 or size[2] not in (3, DYNAMIC):
        raise ValueError(
            f"expected an input uint8 [N,H,W,3], found '{source['name']}' {np.dtype(source['dtype'])} {[batch, *size]}"
        )
    index, output = source["index"], target["index"]
    shape = tuple(source["shape"])

    def embed(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            if any(have not in (want, DYNAMIC) for have, want in zip((batch, *size), images.shape, strict=True)):
                raise ValueError(f"the file takes images [H,W,3] of {size}, these are {list(images.shape[1:])}")
            interpreter.resize_tensor_input(index, images.shape, strict=True)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(index, np.ascontiguousarray(images))
        interpreter.invoke()
        found: np.ndarray = interpreter.get_tensor(output)
        return found

    return in_batches(embed, MAX_IMAGES if batch == DYNAMIC else 1)


def _ends(interpreter: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The details of the input and the output tensor, from the signature if the file has one."""
    signatures = interpreter.get_signature_list()
    if len(signatures) > 1:
        raise ValueError(f"expected one signature, found: {', '.join(signatures)}")
    if signatures:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        inputs, outputs = list(runner.get_input_details().values()), list(runner.get_output_details().values())
    else:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"expected one input and one output, found {len(inputs)} and {len(outputs)}")
    return inputs[0], outputs[0]
