"""ALNet's .pte file beside its .tflite file: ``python -m benchmarks.executorch [SIZE …]``, some minutes.

Exports ALNet (stem stride 2, fp32, random weights with calibrated statistics) at each size in pixels (28, 112, 224) to
both formats, times the files in interleaved rounds on one thread, each round in a fresh process, and prints the ratio
(at most 1.3). ExecuTorch's own tracer then says which share of the time its XNNPACK delegate computes (at least 95 %),
and how long the operations take that ExecuTorch computes itself. Exit code 1 if a limit is missed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from architectures import create_model
from benchmarks.peers import calibrated
from compress.commands.bench import Subject, side_by_side
from exporters import export_model
from validators import choose_runtime, format_of
from validators.runtimes.executorch import ITSELF

LIMIT, LEAST = 1.3, 0.95


def measured(size: int, folder: Path) -> bool:
    """Print the times of one size; whether they keep the limits."""
    network = calibrated(lambda: create_model("alnet", stem_stride=2), size)
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    subjects = []
    for suffix in (".tflite", ".pte"):
        file = export_model(network, folder / f"alnet{size}{suffix}", input_size=size, distance="cosine")
        subjects.append(Subject(suffix, choose_runtime(format_of(file)), file))
    tflite, pte = side_by_side(subjects, image, profile=True)
    if tflite.reason or pte.reason:
        print(tflite.reason or pte.reason)
        return False
    assert isinstance(pte.operators, list), pte.operators
    whole = sum(each.milliseconds for each in pte.operators)
    own = [each for each in pte.operators if each.operator.startswith(ITSELF)]
    share = 1 - sum(each.milliseconds for each in own) / whole
    ratio = pte.median / tflite.median
    print(f"{size} px: .tflite {tflite.median:.3f} ms, .pte {pte.median:.3f} ms, ratio {ratio:.2f} (at most {LIMIT})")
    print(f"  XNNPACK computes {share:.1%} of the operators' {whole:.3f} ms (at least {LEAST:.0%})")
    for each in own:
        print(f"  {each.operator.removeprefix(ITSELF)}: {each.milliseconds:.4f} ms")
    return ratio <= LIMIT and share >= LEAST


def main(sizes: list[int]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        kept = [measured(size, Path(folder)) for size in sizes]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or [28, 112, 224]))
