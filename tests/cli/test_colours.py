"""Colours are for terminals, and for those who want them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

ESCAPE = b"\x1b"
BOLD, GREEN, RED = b"\x1b[1m", b"\x1b[32m", b"\x1b[31m"


def words(*command) -> list[str]:
    return [sys.executable, "-m", "deepmerge", *map(str, command)]


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return kept | {"TERM": "xterm", **more}


def on_a_terminal(*command, **more: str) -> bytes:
    """What the command prints where stdin, stdout and stderr are a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words(*command), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**more))
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 1 << 16):
            printed += part
    except OSError:  # Linux says so that the process has closed its end
        pass
    finally:
        os.close(ours)
        process.wait()
    return printed


def test_there_are_colours_on_a_terminal(mini):
    planned = on_a_terminal("plan", *mini)
    assert BOLD in planned and GREEN in planned and b"next:" in planned
    failed = on_a_terminal("inspect", "no-such.prototxt")
    assert RED in failed and b"no-such.prototxt" in failed


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_there_are_none_where_they_are_not_wanted(mini, more):
    planned = on_a_terminal("plan", *mini, **more)
    assert b"inception_4a" in planned and b"next:" in planned and ESCAPE not in planned
    failed = on_a_terminal("inspect", "no-such.prototxt", **more)
    assert b"deepmerge:" in failed and ESCAPE not in failed


def test_there_are_none_elsewhere_than_on_a_terminal(mini):
    """Not even where TERM names a terminal with colours, or other programs are made to colour theirs."""
    done = subprocess.run(words("plan", *mini), capture_output=True, env=environment(FORCE_COLOR="1"), check=True)
    assert b"inception_4a" in done.stdout and b"next:" in done.stderr
    assert ESCAPE not in done.stdout + done.stderr
