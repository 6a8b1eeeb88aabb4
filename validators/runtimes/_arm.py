"""Runtimes that also execute on Arm, the processor of phones: natively on an Arm machine, elsewhere emulated by qemu.

``make arm`` makes the folder that the emulator needs, with the libraries' own Arm builds (``.ci/arm.sh``).
"""

from __future__ import annotations

import functools
import os
import subprocess
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Self

from compress.contracts import Evidence, Processor, Runtime, host_processor

FOLDER_VARIABLE = "COMPRESS_ARM"
MOST_PIXELS = 10_000_000
"""200 images of 224 x 224 pixels. ALNet takes 0.5 s for one of them on an emulated cortex-a76, 13 ms at 28 x 28."""
_REMEDY = f"in a clone of Compress run: make arm; set {FOLDER_VARIABLE} to the folder .arm that it makes"


@dataclass(frozen=True, kw_only=True)
class ArmRuntime(Runtime):
    """A runtime whose library has an Arm build too.

    Class attributes:
        arm_environment: the environment in the Arm folder that has the library.

    Attributes:
        arm: true executes the library's Arm build, emulated by qemu on another processor: it gives the values that
            phones compute, and no latency. The environment variable COMPRESS_ARM names the folder that ``make arm``
            makes.
        cpu_model: the Arm processor that qemu emulates, such as cortex-a53, cortex-a76 or cortex-a710; w8a32 gives
            other values on other models.
    """

    arm_environment: ClassVar[str] = "current"

    arm: bool = False
    cpu_model: str = "cortex-a76"

    @property
    def emulated(self) -> bool:
        """Whether the artifact is executed by an emulator."""
        return self.arm and host_processor() != "arm"

    def with_arm(self) -> Self:
        """The same runtime on Arm."""
        return replace(self, arm=True)

    def evidence(self) -> Evidence:
        return "emulated-arm" if self.emulated else super().evidence()

    def processor(self) -> Processor:
        return "arm" if self.arm else super().processor()

    def most_pixels(self) -> int | None:
        return MOST_PIXELS if self.emulated else super().most_pixels()

    def title(self) -> str:
        return f"{self.component_name()}-arm" if self.arm else self.component_name()

    def interpreter(self) -> str:
        return str(self._environment / "bin" / "python") if self.emulated else super().interpreter()

    def emulator(self) -> tuple[str, ...]:
        if not self.emulated:
            return super().emulator()
        # Libraries that are to be loaded first are this processor's.
        unset = ("-U", "LD_PRELOAD", "-U", "LD_LIBRARY_PATH")
        return str(_folder() / "qemu-aarch64"), "-cpu", self.cpu_model, "-L", str(_folder() / "root"), *unset

    def not_emulated(self) -> str | None:
        """Why the emulator cannot run here, with the remedy; None if it can."""
        if not os.environ.get(FOLDER_VARIABLE):
            return f"no Arm runtimes here: {FOLDER_VARIABLE} is not set; {_REMEDY}"
        if _qemu_version(_folder()) is None:
            return f"no Arm runtimes here: {_folder() / 'qemu-aarch64'} does not run; {_REMEDY}"
        if self._installed() is None:
            return f"no Arm runtimes here: {self._environment} has no {self.package}; {_REMEDY}"
        return None

    def emulated_version(self) -> str:
        """The version of the library's Arm build and of the emulator with its processor."""
        return f"{self.package} {self._installed()} on qemu {_qemu_version(_folder())}, {self.cpu_model}"

    @property
    def _environment(self) -> Path:
        return _folder() / self.arm_environment

    def _installed(self) -> str | None:
        site = self._environment / "lib" / "python3.11" / "site-packages"
        found = metadata.distributions(name=self.package, path=[str(site)])
        return next((each.version for each in found), None)


def _folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE, "")).absolute()


@functools.cache
def _qemu_version(folder: Path) -> str | None:
    """The version of the emulator in ``folder``, such as 10.0.13; None if it does not run."""
    try:
        command = [str(folder / "qemu-aarch64"), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return said[2] if said[:2] == ["qemu-aarch64", "version"] else None
