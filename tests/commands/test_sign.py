"""A signature covers every byte of a bundle: one that is added, changed or removed is seen, and so is another key.

Runs in the environment that ``make signing`` makes: model-signing cannot share one with the TFLite converter.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compress.bundle.signing import sign, signature_problems
from compress.contracts import BadInput, MissingTool
from tests._command import REPOSITORY
from tests.conftest import Finished

PYTHON = os.environ.get("COMPRESS_SIGNING_PYTHON", str(REPOSITORY / ".venv-sign/bin/python"))
_KEYS = """
import sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
for name in ("key", "other"):
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    open(f"{sys.argv[1]}/{name}.pem", "wb").write(private)
    open(f"{sys.argv[1]}/{name}.pub", "wb").write(public)
"""
_PROBLEMS = """
import sys
from pathlib import Path
from compress.bundle.signing import signature_problems
print(*signature_problems(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def ran(*arguments: str | Path) -> str:
    done = subprocess.run([PYTHON, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def problems(bundle: Path, key: Path) -> str:
    return ran("-c", _PROBLEMS, bundle, key)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    ran("-c", _KEYS, folder)
    return folder


@pytest.fixture(scope="module")
def signed(finished: Finished, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed") / "bundle"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".compress"))
    assert ran("-m", "compress", "sign", folder, "--key", keys / "key.pem") == str(folder / "bundle.sig")
    return folder


@pytest.fixture
def bundle(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def test_what_was_signed_is_verified_and_executed(bundle: Path, keys: Path) -> None:
    command = ("-m", "compress", "verify", bundle, "--key", keys / "key.pub", "--require", "tflite,onnx")
    assert "native" in ran(*command)


@pytest.mark.parametrize("name", ["report.html", "bundle.json", "golden/images/000.png", "artifacts/tiny.fp32.onnx"])
def test_one_byte_more_is_seen_in_any_file(bundle: Path, keys: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b" ")
    assert problems(bundle, keys / "key.pub").startswith("bundle.sig: does not match the files and key.pub")


@pytest.mark.every_change("new.txt", ".git/config")
@pytest.mark.parametrize("name", ["new.txt", ".gitignore", ".git/config", "golden/new.png", ".compress/state"])
def test_a_file_more_is_seen(bundle: Path, keys: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("x", encoding="utf-8")
    assert "does not match" in problems(bundle, keys / "key.pub")


def test_a_file_less_another_key_a_link_and_no_signature_are_seen(bundle: Path, keys: Path) -> None:
    assert problems(bundle, keys / "key.pub") == ""
    assert "does not match the files and other.pub" in problems(bundle, keys / "other.pub")
    (bundle / "link").symlink_to("report.html")
    assert "does not match" in problems(bundle, keys / "key.pub")
    (bundle / "link").unlink()
    (bundle / "report.html").unlink()
    assert "does not match" in problems(bundle, keys / "key.pub")
    (bundle / "bundle.sig").write_text("{}", encoding="utf-8")
    assert "does not match" in problems(bundle, keys / "key.pub")
    (bundle / "bundle.sig").unlink()
    assert problems(bundle, keys / "key.pub") == "bundle.sig: missing; the bundle is not signed"


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x", encoding="utf-8")
    for call in (sign, signature_problems):
        with pytest.raises(MissingTool, match=r"compress-retrieval\[verify,sign\]"):
            call(tmp_path, key)


def test_a_key_that_is_none_is_bad_input(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no key", encoding="utf-8")
    for key in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        command = [PYTHON, "-m", "compress", "sign", str(bundle), "--key", str(key)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert BadInput.exit_code == 2
