"""Sign a bundle, and check its signature: OpenSSF Model Signing over every byte of the folder.

``bundle.sig`` is a Sigstore bundle in key mode: it lists the sha256 of every file, and is signed with an elliptic-curve
key. It proves that the holder of the private key signed exactly these files. It does not prove who the holder is: the
team that publishes the public key must know that.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from compress.bundle.consistency import SIGNATURE
from compress.contracts import BadInput, MissingTool
from compress.system.files import atomic

INSTALL = 'pip install "compress-retrieval[verify,sign]", in an environment without the TFLite converter'


def sign(folder: Path, key: Path, password: str | None = None) -> Path:
    """Write ``bundle.sig`` into a bundle.

    Args:
        key: a private elliptic-curve key (P-256, P-384 or P-521) in PEM.
        password: password of the key, if it has one.

    Raises:
        BadInput: the key does not exist, or the folder holds links.
        MissingTool: model-signing is not installed.
    """
    signing = _library("signing")
    _check_key(key)
    path = folder / SIGNATURE
    try:
        # Made outside the bundle: a file inside it would be signed, too, or would have to be ignored for ever.
        with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
            signed = Path(scratch) / SIGNATURE
            config = signing.Config().use_elliptic_key_signer(private_key=key, password=password)
            config.set_hashing_config(_hashing()).sign(folder, signed)
            content = signed.read_bytes()
        with atomic(path) as unfinished:
            unfinished.write_bytes(content)
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(f"--key {key}: {folder} cannot be signed with it ({_one_line(error)})") from error
    return path


def signature_problems(folder: Path, key: Path) -> list[str]:
    """One line if the bundle is not exactly what was signed with the private key of ``key``, otherwise none.

    Raises:
        BadInput: there is no such key.
        MissingTool: model-signing is not installed.
    """
    verifying = _library("verifying")
    _check_key(key)
    path = folder / SIGNATURE
    if not path.is_file():
        return [f"{SIGNATURE}: missing; the bundle is not signed"]
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        config.set_hashing_config(_hashing()).verify(folder, path)
    except Exception as error:  # the library's parsers raise errors of many kinds; each means failure
        return [f"{SIGNATURE}: does not match the files and {key.name} ({_one_line(error)})"]
    return []


def _hashing() -> Any:
    """Hash every file except the signature itself; links are refused."""
    config = _library("hashing").Config().use_file_serialization(allow_symlinks=False)
    return config.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _library(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise MissingTool(f"signatures need model-signing and pyopenssl, not installed here; {INSTALL}") from error


def _check_key(key: Path) -> None:
    if not key.is_file():
        raise BadInput(f"--key {key}: no such file")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
