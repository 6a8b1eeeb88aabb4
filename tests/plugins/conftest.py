"""The package of ``examples/plugin``, installed into a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.plugins import code
from tests._command import REPOSITORY
from tests._once import shared


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into."""
    with shared(tmp_path_factory, "plugin") as common:
        target = common / "installed"
        if not target.exists():
            offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
            install = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target)]
            subprocess.run([*install, str(REPOSITORY / "examples/plugin")], check=True, capture_output=True)
    return target


@pytest.fixture
def with_plugin(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package can be imported in this process."""
    monkeypatch.syspath_prepend(str(plugin))
    code.offered.cache_clear()
    yield
    code.offered.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "compress_example"]:
        del sys.modules[name]
