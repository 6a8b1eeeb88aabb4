"""Libraries whose wheel has another name are found by the module that they install."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.commands import doctor
from compress.system import environment


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel gadget_cpu 1.5 that installs the module gadget, and an empty folder beside it named like a module."""
    (tmp_path / "gadget").mkdir()
    (tmp_path / "gadget/__init__.py").write_text("raise ImportError('nothing may import it')", encoding="utf-8")
    metadata = tmp_path / "gadget_cpu-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget-cpu\nVersion: 1.5\n", encoding="utf-8")
    (metadata / "top_level.txt").write_text("gadget\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("renamed")
def test_a_wheel_with_another_name_is_found_by_its_module() -> None:
    assert environment.installed("gadget") == ("gadget-cpu", "1.5")
    assert environment.version("gadget") == "1.5"
    assert environment.installed("gadget-cpu") == ("gadget-cpu", "1.5")
    assert environment.version("folder") is None  # a folder that no wheel installed
    assert environment.version("no-such-library") is None
    assert environment.version("@npm/package") is None
    assert environment.versions(["gadget", "no-such-library"]).keys() == {"compress", "gadget"}


@pytest.mark.usefixtures("renamed")
def test_doctor_names_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "TOOLS", {"gadget": "made up", "no-such-library": "made up, too"})
    found = {line.split()[0]: line for line in doctor.lines() if "made up" in line}
    assert "1.5 (gadget-cpu)" in found["gadget"]
    assert "not installed" in found["no-such-library"]
