"""Executes a program op by op: every result computed in float32, then rounded to the type the program declares."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from validators.mlprogram.ops import OPERATIONS, Held
from validators.mlprogram.program import Constant, Operation, Program, Value
from validators.mlprogram.ranges import Range, notes

MAX_IMAGES = 64
MAX_PIXELS = 1 << 20  # activations of a batch are held in float32

_HELD_AS = {
    "bool": torch.bool,
    "int8": torch.int8,
    "int4": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    # PyTorch supports few operations on the wide unsigned types.
    "uint16": torch.int32,
    "uint32": torch.int64,
    **dict.fromkeys(("uint8", "uint6", "uint4", "uint3", "uint2", "uint1"), torch.uint8),
}


class Executor:
    """Runs a program whose constants and compressed weights are evaluated and whose arguments are bound.

    Raises:
        ValueError: the program holds operations that are not in ``ops``; the message names all of them.
    """

    def __init__(self, program: Program) -> None:
        _check_operations(program)
        self._program = program
        self._constants = {name: _held(value) for name, value in program.constants.items()}
        with torch.inference_mode():
            self._steps = tuple(self._bound())
        self._ranges = [Range(_title(step.operation), step.half) for step in self._steps]
        # Counting can take as long as the network, so the share is estimated with the first batch.
        self._counted_zeros = False
        # If sizes or indices depend on the image, images cannot be batched.
        self._alike = all(step.alike for step in self._steps)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed images uint8 RGB [N, H, W, 3]: float32 [N, D].

        Raises:
            ValueError: images of another size, or an operation that does not give the declared shape.
        """
        image = self._program.image
        if images.shape[1:] != (image.height, image.width, 3):
            expected = [image.height, image.width, 3]
            raise ValueError(f"the program takes images [H,W,3] of {expected}, these are {list(images.shape[1:])}")
        step = max(1, min(MAX_IMAGES, MAX_PIXELS // (image.height * image.width)))
        return np.concatenate([self._batch(images[i : i + step]) for i in range(0, len(images), step)])

    def ranges(self) -> tuple[Range, ...]:
        """The range of every operation with floating-point results, in order of execution, over all images so far."""
        return tuple(self._ranges)

    def notes(self) -> tuple[str, ...]:
        """Notes on palettes, and on overflow and underflow of half precision in all images so far; none by default."""
        return (*_palettes(self._program), *notes(self._ranges))

    def _batch(self, images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
        if self._program.image.layout == "BGR":
            pixels = pixels.flip(1)
        with torch.inference_mode():
            one = functools.partial(self._one, count_zeros=not self._counted_zeros)
            if self._alike:
                outputs, measured = torch.vmap(one)(pixels)
            else:
                outputs, measured = (torch.stack(parts) for parts in zip(*map(one, pixels), strict=True))
        self._counted_zeros = True
        self._note(measured.numpy())
        found: np.ndarray = outputs.reshape(len(images), -1).numpy()
        return found

    def _one(self, pixels: Tensor, count_zeros: bool) -> tuple[Tensor, Tensor]:
        """Run one image [3, H, W]: the output, and (largest, non-zero, underflowed) [operations, 3]."""
        values: dict[str, Held] = {self._program.image.value.name: pixels[None]}
        measured = []
        for step in self._steps:
            results = step.run(values)
            rounded = [_rounded(result, value) for value, result in zip(step.operation.outputs, results, strict=True)]
            values.update(zip((value.name for value in step.operation.outputs), rounded, strict=True))
            measured.append(_measure(results[0], rounded[0] if step.half and count_zeros else None))
            for name in step.last_use_of:
                del values[name]
        output = values.get(self._program.output, self._constants.get(self._program.output))
        assert isinstance(output, Tensor)
        return output, torch.stack(measured)

    def _note(self, measured: np.ndarray) -> None:
        """Add (largest, non-zero, underflowed) [images, operations, 3] to the ranges."""
        for number, per_image in enumerate(measured.transpose(1, 0, 2)):
            self._ranges[number] = self._ranges[number].joined(
                float(per_image[:, 0].max()), int(per_image[:, 1].sum()), int(per_image[:, 2].sum())
            )

    def _bound(self) -> list[_Step]:
        """Collect the operations that depend on the image; the others are evaluated now and become constants."""
        steps = []
        for operation in self._program.operations:
            step = _Step.bind(operation, self._constants)
            if step.needs:
                steps.append(step)
                continue
            for value, result in zip(operation.outputs, step.run({}), strict=True):
                self._constants[value.name] = _rounded(result, value)
        return _with_last_uses(steps, self._program.output)


def _palettes(program: Program) -> tuple[str, ...]:
    """A warning if weights have palettes of 16 values: the graph is right, but devices may compute something else."""
    found = [each for each in program.operations if each.type.startswith("constexpr_lut_to_")]
    tables = [program.constants[name] for each in found for name in each.arguments["lut"] if name in program.constants]
    if not any(isinstance(table, np.ndarray) and 16 in (table.size, *table.shape[-2:-1]) for table in tables):
        return ()
    return (
        "palettes of 4 bits: public reports find them wrong on devices (coremltools#2716); measure on yours, or export "
        "fp16 or w8",
    )


@dataclass(frozen=True)
class _Step:
    """An operation whose constant arguments are converted.

    Attributes:
        needs: parameter -> (names of its values, function that converts them), for those that depend on the image.
        constants: the values in ``needs`` that do not depend on the image.
        last_use_of: values that no later operation uses.
        alike: whether only tensors, no sizes or indices, depend on the image.
        half: whether the program declares the first result as half precision.
    """

    operation: Operation
    compute: Callable[..., Any]
    fixed: Mapping[str, Any]
    needs: Mapping[str, tuple[tuple[str, ...], Callable[[Sequence[Held]], Any]]]
    constants: Mapping[str, Held]
    alike: bool
    half: bool
    last_use_of: tuple[str, ...] = ()

    @classmethod
    def bind(cls, operation: Operation, constants: Mapping[str, Held]) -> _Step:
        op = OPERATIONS[operation.type]
        unknown = [parameter for parameter in operation.arguments if parameter not in op.convert]
        missing = [parameter for parameter in op.required if parameter not in operation.arguments]
        if unknown or missing:
            raise ValueError(f"{_title(operation)}: arguments unknown {unknown}, missing {missing}")
        fixed, needs, known = {}, {}, {}
        for parameter, names in operation.arguments.items():
            held = {name: constants[name] for name in names if name in constants}
            if len(held) == len(set(names)):
                fixed[parameter] = op.convert[parameter]([held[name] for name in names])
            else:
                needs[parameter] = (names, op.convert[parameter])
                known.update(held)
        alike = op.takes_tensor.issuperset(needs)
        half = bool(operation.outputs) and operation.outputs[0].dtype.name == "fp16"
        return cls(operation, op.compute, fixed, needs, known, alike, half)

    def run(self, values: Mapping[str, Held]) -> tuple[Tensor, ...]:
        """Compute the results, without rounding them."""
        arguments = {
            parameter: convert([self.constants[n] if n in self.constants else values[n] for n in names])
            for parameter, (names, convert) in self.needs.items()
        }
        try:
            found = self.compute(**self.fixed, **arguments)
        except (RuntimeError, IndexError, KeyError, AssertionError, ValueError) as error:
            raise ValueError(f"{_title(self.operation)}: {error}") from error
        results = found if isinstance(found, tuple) else (found,)
        for value, result in zip(self.operation.outputs, results, strict=True):
            if len(value.shape) != result.ndim or any(
                want not in (None, have) for want, have in zip(value.shape, result.shape, strict=True)
            ):
                raise ValueError(
                    f"{_title(self.operation)} gave the shape {list(result.shape)}, declared is {list(value.shape)}"
                )
        return results


def _check_operations(program: Program) -> None:
    used = Counter(operation.type for operation in program.operations)
    unknown = sorted(kind for kind in used if kind not in OPERATIONS)
    if unknown:
        times = sum(used[kind] for kind in unknown)
        raise ValueError(
            f"the reference executor has no operation {', '.join(map(repr, unknown))} (used {times} times; the program "
            f"has {used.total()} operations of {len(used)} kinds)"
        )


def _title(operation: Operation) -> str:
    return f"{operation.type} '{operation.name}'"


def _held(value: Constant) -> Held:
    if isinstance(value, str):
        return value
    if value.dtype == np.float16:
        return torch.from_numpy(value.astype(np.float32))
    if value.dtype in (np.uint16, np.uint32):
        return torch.from_numpy(value.astype(np.int64))
    return torch.from_numpy(np.array(value))


def _rounded(result: Tensor, declared: Value) -> Tensor:
    """``result`` as a value of the declared type, half precision held in float32."""
    if declared.dtype.name == "fp16":
        return result.half().float()
    return result.to(_HELD_AS.get(declared.dtype.name, torch.float32))


def _measure(result: Tensor, half: Tensor | None) -> Tensor:
    """Measure (largest absolute value, non-zero results, those that are 0 in ``half``): float32 [3]; 0 without it."""
    if result.numel() == 0 or not result.is_floating_point():
        return torch.zeros(3)
    axes = tuple(range(result.ndim))
    largest = torch.maximum(result.amax(axes), -result.amin(axes))
    if half is None:
        return torch.stack([largest, torch.zeros_like(largest), torch.zeros_like(largest)])
    # Sums of signs are several times as fast as counting, and exact up to 2²⁴ elements.
    nonzero = result.abs().sign().sum()
    return torch.stack([largest, nonzero, nonzero - half.abs().sign().sum()])


def _with_last_uses(steps: list[_Step], output: str) -> list[_Step]:
    """Record after which step each value can be freed, because activations of a batch are large."""
    seen = {output}
    annotated = []
    for step in reversed(steps):
        used = {name for names, _ in step.needs.values() for name in names if name not in step.constants}
        made = {value.name for value in step.operation.outputs}
        annotated.append(replace(step, last_use_of=tuple(sorted((used | made) - seen))))
        seen |= used | made
    return annotated[::-1]
