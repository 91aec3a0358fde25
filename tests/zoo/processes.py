"""Processes that tests look for, by Linux's /proc."""

from __future__ import annotations

import time
from pathlib import Path


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends in this time; a zombie has ended."""
    for _ in range(int(seconds / 0.05)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and that these have started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, more = [], {pid}
    while more := {child for child, parent in parents.items() if parent in more}:
        found += more
    return found
