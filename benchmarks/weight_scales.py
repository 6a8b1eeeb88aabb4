"""Other scales of int8 weights in .tflite files: ``python -m benchmarks.weight_scales [NAME …]``.

ai-edge-quantizer takes a channel's scale from its largest weight (min/max), which is what Compress exports. Here its
OCTAV (clips where a Newton iteration expects the smallest squared error) and MSE (a multiple of the weights' root mean
square) take its place, in w8 and w8a8 files of three of ``benchmarks.qat``'s networks. Its GPTQ and OSCAR take fully
connected layers alone, which none of these networks has. Cosine is between the executed file's and the fp32 file's
embeddings of the held-out images. Ten minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from unittest.mock import patch

import numpy as np
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.quantizer import Quantizer

from benchmarks.distillation import shortened, trained
from benchmarks.qat import SIZE, TRAIN, embedded, fresh
from compress.contracts import CompressError, Data
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.options import build
from compress.stages.train import Train
from validators.metrics import evaluate_retrieval

NETWORKS = ("ALNet", "LCNet-0.5", "MobileNetV3-small")
SCALES = {"min/max": AlgorithmName.MIN_MAX_UNIFORM_QUANT, "OCTAV": AlgorithmName.OCTAV, "MSE": AlgorithmName.MSE}
WEIGHTED = (TFLOperationName.CONV_2D, TFLOperationName.DEPTHWISE_CONV_2D, TFLOperationName.FULLY_CONNECTED)
SEED = 0


@contextmanager
def scaled_by(algorithm: AlgorithmName) -> Iterator[None]:
    """Within it, every recipe of the quantizer takes the weights' scales from ``algorithm``."""

    def with_algorithm(self: Quantizer, regex: str, name: TFLOperationName, *, add: str, **options: int) -> None:
        originals[add](self, regex, name, **options)
        for operation in WEIGHTED:
            originals[add](self, regex, operation, algorithm_key=algorithm, **options)

    originals = {add: getattr(Quantizer, add) for add in ("add_weight_only_config", "add_static_config")}
    with patch.multiple(Quantizer, **{add: partialmethod(with_algorithm, add=add) for add in originals}):
        yield


def row(found: np.ndarray, exact: np.ndarray, data: Data) -> str:
    """mAP in percent, mean and least cosine."""
    labels = data.queries.labels
    scores = evaluate_retrieval(found, found, labels, labels, distance="l2", metrics=("mAP",), exclude_self=True)
    cosine = np.sum(found * exact, 1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
    return f"{100 * scores['mAP']:.2f} | {cosine.mean():.4f} | {cosine.min():.4f}"


def main(names: tuple[str, ...]) -> None:
    data = shortened(load_data(Digits(image_size=SIZE), SEED), 1500, 600)
    print("| network | precision | scales of weights | mAP | mean cosine | least cosine |\n|---|---|---|---|---|---|")
    for name in names:
        model = trained(build(Train, TRAIN, "train"), fresh(name, data, SEED), data, SEED)
        exact = embedded(model, data, "fp32", SEED)
        print(f"| {name} | fp32 | | {row(exact, exact, data)} |", flush=True)
        for precision in ("w8", "w8a8"):
            for scales, algorithm in SCALES.items():
                try:
                    with scaled_by(algorithm):
                        cells = row(embedded(model, data, precision, SEED), exact, data)
                except CompressError as error:  # the export compares the file with the network
                    print(error, file=sys.stderr)
                    cells = "refused | |"
                print(f"| {name} | {precision} | {scales} | {cells} |", flush=True)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NETWORKS)
