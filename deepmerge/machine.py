"""The machine that this process runs on."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the CPU's model, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "") or platform.processor() or platform.machine() or "unknown"


def memory() -> int:
    """Return the bytes of memory that this process may use, of the machine or of its container."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62
    with contextlib.suppress(OSError, ValueError):  # not Linux, or no limit ("max")
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def resident(pid: int) -> int:
    """Return the bytes of memory that a process and its children have, files that are mapped left out; 0 if unknown."""
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended, or this is not Linux
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        total = (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += sum(resident(int(child)) for child in children)
    return total
