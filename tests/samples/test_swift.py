"""The Swift samples, type-checked against stubs of Apple's frameworks (``make swift``, where ``swiftc`` exists)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.samples._swift import SAMPLES, STUBS, swiftc

pytestmark = pytest.mark.swift

# Each after those that it imports.
FRAMEWORKS = (
    "CoreVideo",
    "CoreML",
    "CryptoKit",
    "ExecuTorch",
    "SQLite3",
    "CoreGraphics",
    "UIKit",
    "SwiftUI",
    "PhotosUI",
)


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stubs as modules."""
    folder = tmp_path_factory.mktemp("swift")
    for name in FRAMEWORKS:
        module = folder / f"{name}.swiftmodule"
        options = ["-emit-module", "-parse-as-library", "-module-name", name, "-I", folder, "-o", module]
        done = swiftc(*options, STUBS / f"{name}.swift")
        assert done.returncode == 0, done.stderr
    return folder


def checked(frameworks: Path, *sources: Path, version: str = "5") -> subprocess.CompletedProcess[str]:
    options = ["-typecheck", "-warnings-as-errors", "-parse-as-library", "-swift-version", version]
    return swiftc(*options, "-I", frameworks, *sources)


def test_the_samples_type_check(frameworks: Path) -> None:
    sources = sorted(SAMPLES.glob("*.swift"))
    assert [source.name for source in sources] == [
        "CheckBundle.swift",
        "DeviceResults.swift",
        "ExecuTorchNetwork.swift",
    ]
    done = checked(frameworks, *sources)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", ["5", "6"])
def test_offline_index_and_its_screen_type_check(frameworks: Path, version: str) -> None:
    sources = sorted((SAMPLES / "offline").glob("*.swift"))
    assert len(sources) == 6
    done = checked(frameworks, *sources, version=version)
    assert done.returncode == 0, done.stderr


def test_a_planted_typing_error_is_caught(frameworks: Path, tmp_path: Path) -> None:
    """The control of the type check itself."""
    source = (SAMPLES / "CheckBundle.swift").read_text(encoding="utf-8")
    planted = source.replace("(0..<dim).map { output[$0].floatValue }", "(0..<dim).map { output[$0] }")
    assert planted != source
    (tmp_path / "CheckBundle.swift").write_text(planted, encoding="utf-8")
    done = checked(frameworks, tmp_path / "CheckBundle.swift")
    assert done.returncode != 0
    assert "CheckBundle.swift" in done.stderr and "value of type 'NSNumber'" in done.stderr
