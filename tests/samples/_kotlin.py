"""Compiles the Kotlin samples with their stubs and executes them on the JVM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests._command import REPOSITORY

SAMPLES = REPOSITORY / "examples/android"
STUBS = REPOSITORY / "tests/samples/android"
FOLDER = Path(os.environ.get("COMPRESS_KOTLIN", REPOSITORY / ".kotlin"))
COMPILER = FOLDER / "package"
JARS = [FOLDER / "usr/share/java" / name for name in ("json-android.jar", "sqlite-jdbc.jar")]


def compiled(target: Path, *sources: Path) -> subprocess.CompletedProcess[str]:
    """Compile Kotlin; a warning is an error."""
    assert shutil.which("java"), "no Java: apt-get install openjdk-17-jre-headless"
    assert all(jar.exists() for jar in JARS), f"no compiler or libraries in {FOLDER}: 'make kotlin' fetches them"
    # The compiler runs for seconds only: what the JVM would spend on optimizing it does not pay.
    command = ["java", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{COMPILER}/lib/*"]
    command.append("org.jetbrains.kotlin.cli.jvm.K2JVMCompiler")
    options = ["-kotlin-home", COMPILER, "-no-reflect", "-Werror", "-cp", JARS[0], "-d", target]
    return subprocess.run([*command, *map(str, (*options, *sources))], capture_output=True, text=True, check=False)


def executed(
    samples: Path, main: str, *arguments: str | Path, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a class of the compiled samples; ``given`` is its standard input."""
    classes = os.pathsep.join(map(str, (samples, *JARS, COMPILER / "lib/kotlin-stdlib.jar")))
    # SQLite for the JDBC driver, in Debian's folder of this processor.
    libraries = os.pathsep.join(map(str, [*FOLDER.glob("usr/lib/*/jni"), *FOLDER.glob("usr/lib/*-linux-*")]))
    properties = [f"-Dpython={sys.executable}", f"-Dphone={STUBS / 'phone.py'}", f"-Djava.library.path={libraries}"]
    command = ["java", *properties, "-Djava.awt.headless=true", "-cp", classes, main, *map(str, arguments)]
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environment)
