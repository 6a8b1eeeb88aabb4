"""What operations cost on a runtime, estimated: enough to rank the forms of one place, no prediction of latency."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Estimates in multiply-adds of one lane.

    Attributes:
        lanes: output channels that the matrix kernel computes at a time; a group with fewer wastes the others.
        spatial_lanes: those of the kernel for convolutions larger than 1x1.
        pixel: what one output pixel of one group costs before any multiplication.
        moved: what moving one value costs.
        channels_last: the order of axes in which the runtime moves values.
        batched: what a product of matrices for each group takes, as a share of the grouped convolution; None where it
            is not to be tried.
        reductions: other operations reduce over channels faster than the one that is called so.
        in_place: results that are overwritten instead of written elsewhere save memory, and the time to get it.
    """

    lanes: int
    spatial_lanes: int
    pixel: float
    moved: float
    channels_last: bool
    batched: float | None = None
    reductions: bool = False
    in_place: bool = False

    def convolution(self, pixels: int, groups: int, inputs: int, outputs: int) -> float:
        """Of ``inputs`` multiply-adds for each of ``outputs`` values in every group and pixel."""
        return pixels * groups * (self.pixel + inputs * math.ceil(outputs / self.lanes) * self.lanes)

    def spatial(self, pixels: int, inputs: int, outputs: int) -> float:
        """Of an ungrouped convolution larger than 1x1: ``inputs`` multiply-adds for each value."""
        return pixels * (self.pixel + inputs * math.ceil(outputs / self.spatial_lanes) * self.spatial_lanes)

    def move(self, values: int) -> float:
        return self.moved * values


XNNPACK = Costs(lanes=16, spatial_lanes=16, pixel=125, moved=25, channels_last=True)
"""TFLite: fitted to its convolutions of 1x1 in 1 to 8 groups, from 112x112 to 7x7, on one x86 thread with AVX2."""

ONNXRUNTIME = Costs(lanes=16, spatial_lanes=16, pixel=500, moved=100, channels_last=False, reductions=True)
"""ONNX Runtime, which computes in blocks of channels: a move makes it leave and enter them."""

TORCH = Costs(lanes=1, spatial_lanes=16, pixel=0, moved=0, channels_last=False, batched=0.7, in_place=True)
"""TorchScript: no dense form of a grouped convolution was faster there. Its grouped 1x1 convolution is a loop over
copies of slices, and each map of some size is memory that it asks the system for."""

COREML = Costs(lanes=1, spatial_lanes=1, pixel=0, moved=100, channels_last=False)
"""Core ML, which runs on no machine that this was measured on: shuffles of large maps go, all else stays plain."""
