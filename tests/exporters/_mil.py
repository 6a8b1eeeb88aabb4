"""A reference execution of Core ML ML Programs on any machine: the graph and weights as stored, op by op in PyTorch.

It proves what the file says, not what Apple's kernels do with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Executed:
    """``embedding`` float32 [D]; ``largest`` is the largest absolute value of any intermediate result."""

    embedding: np.ndarray
    largest: float


def operations(package: Path) -> list[Any]:
    """The operations of the one function, without constants, in order."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = ct.models.utils.load_spec(str(package))
    weights = str(package / "Data" / "com.apple.CoreML" / "weights")
    (function,) = load(spec, spec.specificationVersion, weights).functions.values()
    return [operation for operation in function.operations if operation.op_type != "const"]


def execute(package: Path, image: np.ndarray) -> Executed:
    """Run one image, uint8 [H, W, 3]; results are rounded to float16 where the file says so."""
    values: dict[str, torch.Tensor] = {"image": torch.from_numpy(image).permute(2, 0, 1)[None].float()}
    largest = 0.0
    for operation in operations(package):
        arguments = {name: _value(variable, values) for name, variable in operation.inputs.items()}
        (output,) = operation.outputs
        result = _OPERATIONS[operation.op_type](arguments)
        assert tuple(result.shape) == tuple(output.shape), operation.name
        if output.dtype.__name__ == "fp16":
            result = result.half().float()
        values[output.name] = result
        largest = max(largest, float(result.abs().max()))
    return Executed(values["embedding"][0].numpy(), largest)


def _value(variable: Any, values: dict[str, torch.Tensor]) -> Any:
    if isinstance(variable, tuple | list):
        return [_value(one, values) for one in variable]
    if variable.name in values:
        return values[variable.name]
    constant = variable.val
    if isinstance(constant, np.ndarray | np.floating) and constant.dtype.kind == "f":
        return torch.tensor(np.asarray(constant, dtype=np.float32))
    return constant


def _conv(a: dict[str, Any]) -> torch.Tensor:
    top, bottom, left, right = (0, 0, 0, 0) if a["pad_type"] == "valid" else a["pad"]
    assert a["pad_type"] in ("valid", "custom")
    padded = F.pad(a["x"], (left, right, top, bottom))
    return F.conv2d(padded, a["weight"], a.get("bias"), tuple(a["strides"]), 0, tuple(a["dilations"]), int(a["groups"]))


_OPERATIONS: dict[str, Callable[[dict[str, Any]], torch.Tensor]] = {
    "cast": lambda a: a["x"],
    "mul": lambda a: a["x"] * a["y"],
    "add": lambda a: a["x"] + a["y"],
    "conv": _conv,
    "relu": lambda a: a["x"].relu(),
    "sigmoid": lambda a: a["x"].sigmoid(),
    "clip": lambda a: a["x"].clamp(float(a["alpha"]), float(a["beta"])),
    "reduce_mean": lambda a: a["x"].mean(tuple(a["axes"]), keepdim=bool(a["keep_dims"])),
    "reduce_max": lambda a: a["x"].amax(tuple(a["axes"]), keepdim=bool(a["keep_dims"])),
    "reshape": lambda a: a["x"].reshape(tuple(int(side) for side in a["shape"])),
    "transpose": lambda a: a["x"].permute(tuple(int(axis) for axis in a["perm"])),
    "concat": lambda a: torch.cat(a["values"], int(a["axis"])),
}
