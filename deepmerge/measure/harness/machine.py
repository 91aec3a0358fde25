"""What is measured on: processor, cores, load, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import deepmerge

PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "opencv-python-headless", "opencv-python", "MNN", "ncnn", "pnnx")


def machine() -> dict[str, Any]:
    """JSON-ready. cores: those that this process may use; load: the averages of 1, 5 and 15 minutes, None where unknown."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "deepmerge": deepmerge.__version__,
        "packages": packages(),
        "load": load(),
    }


def load() -> list[float] | None:
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The CPU's model, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "") or platform.processor() or platform.machine()
