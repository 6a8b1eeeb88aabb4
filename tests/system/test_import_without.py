"""A library is imported without others that it only looks for, and these stay usable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compress.system.import_without import import_without

LIGHT = """
import sys
from compress.system.import_without import import_without
from compress.system.torchvision import import_torchvision
import_torchvision()  # timm needs it
library = import_without(*sys.argv[1:])
print(library.__name__, sys.argv[-1] in sys.modules, library is import_without(*sys.argv[1:]))
__import__(sys.argv[-1])
import_without(*sys.argv[1:])
print(sys.argv[-1] in sys.modules)
"""


def test_what_is_left_out_can_be_imported_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_to_load.py").write_text("")
    (tmp_path / "looks_for_it.py").write_text(
        "try:\n    import slow_to_load\nexcept ImportError:\n    slow_to_load = None"
    )
    assert import_without("looks_for_it", "slow_to_load").slow_to_load is None
    import slow_to_load  # type: ignore[import-not-found]

    del sys.modules["looks_for_it"]
    assert import_without("looks_for_it").slow_to_load is slow_to_load  # the control
    del sys.modules["looks_for_it"]
    assert import_without("looks_for_it", "slow_to_load").slow_to_load is None
    assert sys.modules["slow_to_load"] is slow_to_load


@pytest.mark.nightly
@pytest.mark.parametrize(
    "names", [("coremltools", "sklearn", "transformers", "torchao"), ("timm", "wandb")], ids=lambda names: names[0]
)
def test_the_libraries_that_we_import_so_load(names: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, *names], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [names[0], "False", "True", "True"]
