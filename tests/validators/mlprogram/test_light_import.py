"""coremltools loads without PyTorch's compiler, and libraries it looked for stay usable."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = """
import sys
from validators.mlprogram.light_import import load_coremltools
load_coremltools()
import coremltools
assert coremltools.converters.mil and coremltools.optimize.coreml
print("torch._dynamo" in sys.modules)
import sklearn.base
load_coremltools()
print("sklearn.base" in sys.modules)
"""


@pytest.mark.nightly
def test_it_loads_without_the_compiler_and_hides_nothing_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
