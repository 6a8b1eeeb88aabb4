"""Print constraints that pin every dependency to the oldest version that pyproject.toml admits."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("verify", "train", "onnx", "tflite", "coreml", "backbones", "index", "parquet", "demo")


def oldest(project: dict[str, dict[str, object]]) -> list[str]:
    """``name==version`` for each requirement ``name>=version`` of the package and of its extras for runs."""
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]
    found = {}
    for requirement in listed:
        match = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", str(requirement))
        if match and "sys_platform" not in str(requirement):
            found[match[1]] = f"{match[1]}=={match[2]}" + (".*" if match[2].count(".") < 2 else "")
    return sorted(found.values())


if __name__ == "__main__":
    print(*oldest(tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]), sep="\n")
