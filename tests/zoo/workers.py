"""What stands for convert in tests of processes. Each takes convert's words; these functions go to other processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepmerge.cli.zoo_options import run_convert
from deepmerge.errors import ReadError


def hang(words) -> None:
    print("hanging", flush=True)
    time.sleep(600)


def eat(words) -> None:
    held = []
    while True:
        held.append(b"x" * 10_000_000)


def crash(words) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_once(words):
    """Be killed the first time, then convert."""
    mark = Path("crashed")
    if not mark.exists():
        mark.touch()
        crash(words)
    return run_convert(words)


def swap(words):
    """Convert another caffemodel than the one that was looked at, as a second download may be."""
    with open(words[-1], "ab") as file:
        file.write(b"\x0a\x00")  # a field that says the same
    return run_convert(words)


def refuse(words) -> None:
    raise ReadError("is not what it should be", words[-1], remedy="get another")


def wrong(words) -> None:
    raise ZeroDivisionError("oh\nno")


def with_child(words) -> None:
    """Start a process that hangs, write its number to a file, and hang."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("child").write_text(str(child.pid))
    time.sleep(600)


def threads(words):
    Path("threads").write_text(os.environ["OMP_NUM_THREADS"])
    return run_convert(words)
