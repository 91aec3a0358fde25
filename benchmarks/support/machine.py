"""Describe the machine, and measure commands as a user runs them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str]:
    """Return what the figures are measured on."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()} ({len(os.sched_getaffinity(0))} for this process)",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime")},
        "commit": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return done.stdout.strip() or "none"


def measured_command(arguments: list[str], repeat: int = 3) -> dict[str, float]:
    """Run `deepmerge` with these arguments; return the median wall clock and the greatest resident memory."""
    seconds, peak = [], 0
    for _ in range(repeat):
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "deepmerge", *arguments], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone; RUSAGE_CHILDREN is of all that ever were
        seconds.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"deepmerge {' '.join(arguments)} ended with {process.returncode}")
        peak = max(peak, usage.ru_maxrss)
    return {"seconds": statistics.median(seconds), "peak_mb": peak * 1024 / 1e6}
