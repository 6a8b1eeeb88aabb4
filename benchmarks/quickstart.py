"""The quickstart's times: ``python -m benchmarks.quickstart``.

Prints the whole command (limit 180 s on two cores), export and validation alone (limit 60 s) and ``compress --help``
(limit 0.5 s).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._timing import medians

RECIPE = Path(__file__).parent.parent / "recipes/quickstart.yaml"


def compress(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "compress", *map(str, arguments)], check=True, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        compress("run", RECIPE, "--out", folder, "--until", "train")
        trained = time.perf_counter()
        compress("run", RECIPE, "--out", folder)
        done = time.perf_counter()
    print(f"train                {trained - start:6.1f} s")
    print(f"export and validate  {done - trained:6.1f} s  (limit 60)")
    print(f"from recipe to bundle {done - start:5.1f} s  (limit 180)")
    (help_,) = medians({"help": lambda: compress("--help")}, rounds=5).values()
    print(f"compress --help      {help_:6.2f} s  (limit 0.5)")


if __name__ == "__main__":
    main()
