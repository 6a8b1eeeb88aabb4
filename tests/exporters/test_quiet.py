"""What a converter prints stays hidden, unless the conversion fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exporters._quiet import quiet

# As Python code, as a C++ library and as a child process.
TALK = """
import os, subprocess, sys, warnings
from exporters._quiet import quiet

def talk():
    print("python talks")
    os.write(1, b"a library talks\\n")
    os.write(2, b"a library complains\\n")
    subprocess.run([sys.executable, "-c", "print('a child talks')"], check=True)
    warnings.warn("a warning", UserWarning)

print("before")  # into a pipe, so it is still in Python's buffer when the block begins
try:
    with quiet():
        talk()
        {end}
except BaseException as error:
    print(type(error).__name__)
print("after")
"""


def run(end: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: pytest's capture has a place of its own for what Python prints."""
    return subprocess.run([sys.executable, "-c", TALK.format(end=end)], capture_output=True, text=True, check=True)


def test_nothing_comes_out_but_what_was_printed_around_it() -> None:
    done = run("pass")
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")


def test_all_of_it_comes_out_when_the_block_fails() -> None:
    done = run("1 / 0")
    assert done.stdout == "before\nZeroDivisionError\nafter\n"
    said = done.stderr.splitlines()
    assert sorted(said) == ["a child talks", "a library complains", "a library talks", "python talks"]


def test_a_user_who_interrupts_does_not_get_the_noise() -> None:
    done = run("raise KeyboardInterrupt")
    assert (done.stdout, done.stderr) == ("before\nKeyboardInterrupt\nafter\n", "")


def test_descriptors_are_given_back() -> None:
    def opened() -> set[str]:
        return {entry.name for entry in Path("/dev/fd").iterdir()}

    before = opened()
    for _ in range(3):
        with quiet():
            pass
        with pytest.raises(ZeroDivisionError), quiet():
            raise ZeroDivisionError
    assert opened() == before
