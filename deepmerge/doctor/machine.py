"""The machine: graphics cards, processor, memory."""

from __future__ import annotations

import os
import shutil
import subprocess

from deepmerge.doctor.check import Check
from deepmerge.doctor.packages import reason
from deepmerge.machine import cores, processor
from deepmerge.text import flat


def cuda() -> Check:
    """Report the graphics cards that the driver's own tool lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("CUDA", "absent", "no nvidia-smi here; only recovery and fine-tuning would use a GPU")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("CUDA", "warning", f"{tool} does not run: {reason(error)}", "look at the driver")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        said = flat(done.stderr or done.stdout) or f"ended with status {done.returncode}"
        return Check("CUDA", "warning", f"{tool}: {said}", "look at the driver")
    return Check("CUDA", "ok", "; ".join(lines), details={"devices": lines})


def cpu() -> Check:
    """Report the processor, and how many of its cores this process may use."""
    model, total, usable = processor(), os.cpu_count() or 1, cores()
    found = f"{model}, {total} cores" + (f", {usable} of them usable" if usable != total else "")
    return Check("CPU", "ok", found, details={"model": model, "cores": total, "usable_cores": usable})


def memory() -> Check:
    """Report the machine's memory."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return Check("memory", "absent", "this system does not say")
    return Check("memory", "ok", f"{size / 1e9:,.1f} GB", details={"bytes": size})
