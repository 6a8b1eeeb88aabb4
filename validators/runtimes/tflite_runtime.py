"""TFLite files on tflite-runtime 2.14 (2023), the interpreter of apps that have not moved to LiteRT."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from compress.contracts import Embedder, Evidence
from compress.system.child import ChildFailed, call
from validators.runtimes._arm import ArmRuntime
from validators.runtimes._tflite import open_tflite

INTERPRETER_VARIABLE = "COMPRESS_LEGACY_PYTHON"
INSTALL = "pip install tflite-runtime==2.14.0 'numpy<2' annotated-types"


@dataclass(frozen=True, kw_only=True)
class TFLiteRuntime(ArmRuntime):
    """Executes files with tflite-runtime, which needs Python 3.11 or older and NumPy 1, usually a separate environment.

    Attributes:
        python: the interpreter of that environment; null takes the environment variable COMPRESS_LEGACY_PYTHON, then
            this interpreter. Interpreters in the working folder are not tried, because they may be part of an
            untrusted bundle.
        xnnpack: false runs TFLite's own kernels instead of XNNPACK's.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "tflite-runtime"
    arm_environment: ClassVar[str] = "older"

    python: str | None = None
    xnnpack: bool = True

    def interpreter(self) -> str:
        if self.emulated:
            return super().interpreter()
        chosen = self.python or os.environ.get(INTERPRETER_VARIABLE) or sys.executable
        found = shutil.which(chosen) or chosen
        return str(Path(found).absolute())  # not resolved: a virtual environment's python is a link

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        here = cls(), cls(xnnpack=False)
        return *here, *(each.with_arm() for each in here)

    def title(self) -> str:
        return super().title() if self.xnnpack else f"{super().title()}-without-xnnpack"

    def evidence(self) -> Evidence:
        return super().evidence() if self.emulated else "older-runtime"

    def unavailable(self) -> str | None:
        if self.emulated:
            return self.not_emulated()
        works, answer = _probe(self.interpreter())
        if works:
            return None
        return (
            f"tflite-runtime does not run in {self.interpreter()} ({answer}); make an environment with Python 3.11, "
            f"there {INSTALL}, and set the option python or {INTERPRETER_VARIABLE} to its interpreter"
        )

    def version(self) -> str:
        if self.emulated:
            return self.emulated_version()
        loaded = sys.modules.get("tflite_runtime")  # in the child process, which runs in that interpreter
        return f"tflite-runtime {loaded.__version__ if loaded else _probe(self.interpreter())[1]}"

    def open(self, path: Path, threads: int) -> Embedder:
        from tflite_runtime.interpreter import Interpreter, OpResolverType

        own_kernels = None if self.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return open_tflite(Interpreter, path, threads, own_kernels)


@functools.cache
def _probe(interpreter: str) -> tuple[bool, str]:
    """Test whether ``interpreter`` can load tflite-runtime; also returns its version or the reason.

    The package is really imported, in a separate process, because with NumPy 2 it is found but cannot be imported.
    """
    try:
        return True, call(_installed_version, {}, interpreter=interpreter, timeout_s=60)
    except ChildFailed as failed:
        return False, failed.line


def _installed_version(job: Mapping[str, Any], scratch: Path) -> str:
    import tflite_runtime
    import tflite_runtime.interpreter

    return str(tflite_runtime.__version__)
