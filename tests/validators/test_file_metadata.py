"""The metadata inside every format, read without its library, are what the exporter wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Finished
from validators import FORMATS
from validators.file_metadata import read_metadata


def test_every_format_says_what_bundle_json_says(finished: Finished) -> None:
    manifest = json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8"))
    seen = set()
    for artifact in manifest["artifacts"]:
        found = read_metadata(finished.folder / artifact["path"], artifact["format"])
        seen.add(artifact["format"])
        assert (found["name"], found["license"]) == (manifest["name"], manifest["license"])
        assert found["resize"] == manifest["preprocess"]["resize"]
        assert found["mean"] == manifest["preprocess"]["mean"]
        assert found["embedding_dim"] == manifest["embedding"]["dim"]
    with_tests_of_their_own = {"coreai", "executorch", "executorch-coreml"}
    assert seen == set(FORMATS.values()) - with_tests_of_their_own


@pytest.mark.parametrize("file_format", sorted(set(FORMATS.values())))
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff" * 64, b"PK\x05\x06" + b"\x00" * 18, b"\x72\x7f" * 40])
def test_damaged_files_have_no_metadata(tmp_path: Path, file_format: str, content: bytes) -> None:
    path = tmp_path / "file"
    if file_format == "coreml":
        path = path / "Data/com.apple.CoreML"
        path.mkdir(parents=True)
        (path / "model.mlmodel").write_bytes(content)
        path = tmp_path / "file"
    elif file_format == "coreai":
        path.mkdir()
        (path / "metadata.json").write_bytes(content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"metadata|record|entry|field|wire|number|object|not enough|unpack"):
        read_metadata(path, file_format)
