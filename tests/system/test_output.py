"""What is printed stays on its line, looks like what it is, and no end of a stream loses a result."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from compress.commands._tables import print_matches, print_table
from compress.gallery.nearest import Match
from compress.system.output import lasting_streams, printable
from compress.system.progress import say
from tests._command import REPOSITORY, compress
from tests.commands.test_tables import entry

HOSTILE = "a\x1b[2J\nFAILED\r\tb\u202egnp.exe\u2028\x9b31m\x07\ud800"


def test_only_what_moves_hides_or_reorders_is_escaped() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\nFAILED\r\tb\u202egnp.exe\u2028\x9b31m\x07\ud800"
    assert printable("Schäfchen 猫\u3000'q' \\ [b]") == "Schäfchen 猫\u3000'q' \\ [b]"
    assert printable("0123456789", most=4) == "01 … 89"


def test_tables_and_log_print_names_of_strangers_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_matches([Match("[/b]" + HOSTILE, HOSTILE, 0.5)])
    row = entry("[/red]\x1b", "native", 0).model_copy(update={"path": "artifacts/n.\x1b", "evidence": "\n"})
    print_table(f"[/bold]{HOSTILE}", [row])
    with redirect_stderr(StringIO()) as log:
        say(HOSTILE)
    printed = capsys.readouterr().out + log.getvalue()
    assert printed.count("\\x1b") >= 5
    assert "[/b]" in printed and "[/red]" in printed
    assert all(character == "\n" or character.isprintable() for character in printed)


def test_every_place_prints_escaped() -> None:
    """``print`` appears where the text is JSON or was escaped."""
    found = [
        f"{path.relative_to(REPOSITORY).as_posix()}: {ast.unparse(node.args[0])}"
        for path in sorted((REPOSITORY / "compress").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    unescaped = [line for line in found if "printable(" not in line and "json.dumps(" not in line]
    assert len(found) >= 5
    # Numbers and an address that the server itself listens on.
    known = ("compress/data/decode.py", "compress/demo/server.py", "compress/system/output.py")
    assert [line for line in unescaped if not line.startswith(known)] == []


LASTING = """
import sys
from compress.system.output import lasting_streams
with lasting_streams():
    for number in range(100_000):
        print(number, "caf\\u00e9", file=getattr(sys, sys.argv[1]))
    open(sys.argv[2], "w").write("all of the work was done")
    raise SystemExit(int(sys.argv[3]))
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_reader_that_leaves_stops_nothing(tmp_path: Path, stream: str, code: int) -> None:
    done = tmp_path / "done"
    pipe = {stream: subprocess.PIPE}
    command = [sys.executable, "-c", LASTING, stream, str(done), str(code)]
    with subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "PYTHONIOENCODING": "ascii"}, **pipe) as child:
        reading = getattr(child, stream)
        assert reading.readline() == b"0 caf\\xe9\n"
        reading.close()
    assert child.returncode == code
    assert done.read_text() == "all of the work was done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(("code", "expected"), [(0, 3), (1, 1)])
def test_what_could_not_be_stored_is_no_success(tmp_path: Path, code: int, expected: int) -> None:
    command = [sys.executable, "-c", LASTING, "stdout", str(tmp_path / "done"), str(code)]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == expected
    assert (tmp_path / "done").exists()
    told = ["compress: stdout: No space left on device; what was printed is incomplete"] if code == 0 else []
    assert ended.stderr.splitlines() == told


def test_closed_streams_are_none_of_the_work(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m compress list >&- 2>&-'
    assert subprocess.run(["bash", "-c", command], cwd=REPOSITORY, check=False).returncode == 0


def test_an_ascii_locale_gets_every_character(tmp_path: Path) -> None:
    ended = compress("verify", tmp_path / "Schäfchen\x1b[2J", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert ended.code == 2
    assert r"Sch\xe4fchen\x1b[2J: no bundle.json here" in ended.complaint


def test_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with lasting_streams():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
