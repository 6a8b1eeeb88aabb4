"""Estimate what operations cost on a runtime: enough to rank the variants at one location, not to predict latency."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Costs:
    """Estimates costs in multiply-adds of one lane.

    Attributes:
        lanes: output channels that the matrix kernel computes at a time; a group with fewer wastes the rest.
        spatial_lanes: the same for the kernel for convolutions larger than 1x1.
        pixel: cost of one output pixel of one group before any multiplication.
        moved: cost of moving one value.
        channels_last: the order of axes in which the runtime moves values.
        batched: time of one matrix product per group, as a share of the grouped convolution's; None if it is not to be
            tried.
        reductions: whether other operations reduce over channels faster than the runtime's reduction.
        delegated: whether only operations that a delegate takes are fast.
        in_place: whether overwriting a result saves time, because allocating memory takes time.
        group_multiple: channels of each group of a convolution, in and out, must be a multiple of this, or it has one
            group; a processor computes wrong values otherwise. 1 allows any, None only one group.
        growth: the share by which the weights may grow for speed; None if there is no limit.
        pieces: whether to move each channel once through a chain of units instead of shuffling in each unit.
        resizes: the modes of interpolation, without antialias, that the converter writes as PyTorch computes them;
            nearest neighbours by whole factors are always among them. None: all modes, antialias included.
        pad_pools: whether average pools with padding are to be written as a padding and a pool without.
        stride_first: whether 1x1 convolutions with a stride are to be written as a pool that leaves pixels out and a
            convolution without a stride.
    """

    lanes: int
    spatial_lanes: int
    pixel: float
    moved: float
    channels_last: bool
    batched: float | None = None
    reductions: bool = False
    delegated: bool = False
    in_place: bool = False
    group_multiple: int | None = 1
    growth: float | None = None
    pieces: bool = False
    pad_pools: bool = False
    stride_first: bool = False
    resizes: frozenset[str] | None = None

    def convolution(self, pixels: int, groups: int, inputs: int, outputs: int) -> float:
        """The cost of ``inputs`` multiply-adds for each of ``outputs`` values in every group and pixel."""
        return pixels * groups * (self.pixel + inputs * math.ceil(outputs / self.lanes) * self.lanes)

    def spatial(self, pixels: int, inputs: int, outputs: int) -> float:
        """The cost of an ungrouped convolution larger than 1x1: ``inputs`` multiply-adds for each value."""
        return pixels * (self.pixel + inputs * math.ceil(outputs / self.spatial_lanes) * self.spatial_lanes)

    def move(self, values: int) -> float:
        return self.moved * values


XNNPACK = Costs(
    lanes=16,
    spatial_lanes=16,
    pixel=125,
    moved=25,
    channels_last=True,
    group_multiple=4,
    pieces=True,
    pad_pools=True,
    resizes=frozenset({"bilinear"}),
)
"""TFLite: fitted to its 1x1 convolutions with 1 to 8 groups, on 112x112 to 7x7, on one x86 thread with AVX2.

The GPU accelerators of phones take the same files. They compute channels in slices of four, and LiteRT's gives zeros
for a convolution whose groups are no whole slices (16 or 24 channels in 8 groups), without an error. Padded average
pools are wrong there, too.
"""

XNNPACK_INT8 = replace(XNNPACK, group_multiple=None, growth=0.1)
"""TFLite files with int8 weights, for which the GPU accelerator computes every grouped convolution wrongly. Without a
limit ALNet's file would be 1.6 times as large, and who asks for int8 wants a small one."""

XNNPACK_INT8_OPERANDS = replace(XNNPACK_INT8, stride_first=True)
"""TFLite files whose convolutions read int8 weights: the GPU accelerator then ignores the stride of 1x1 kernels."""

ONNXRUNTIME = Costs(lanes=16, spatial_lanes=16, pixel=500, moved=100, channels_last=False, reductions=True)
"""ONNX Runtime: it computes in blocks of channels, so a move needs a conversion to and from blocks."""

TORCH = Costs(lanes=1, spatial_lanes=16, pixel=0, moved=0, channels_last=False, batched=0.7, in_place=True)
"""TorchScript: no dense variant of a grouped convolution was faster. Its grouped 1x1 convolution is a loop over copies
of slices, and it allocates memory from the system for each larger map."""

EXECUTORCH = Costs(lanes=16, spatial_lanes=16, pixel=125, moved=50, channels_last=False, delegated=True)
"""ExecuTorch with XNNPACK: as TFLite, but moves are made in channels-first order, with two transpositions more."""

COREML = Costs(
    lanes=1,
    spatial_lanes=1,
    pixel=0,
    moved=100,
    channels_last=False,
    resizes=frozenset({"nearest", "bilinear"}),
)
"""Core ML, whose costs could not be measured on the machines used: only shuffles of large maps are removed."""
