"""What a measurement ran on: processor, cores, load, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import deepmerge
from deepmerge.machine import cores, processor

PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "opencv-python-headless", "opencv-python", "MNN", "ncnn", "pnnx")


def machine() -> dict[str, Any]:
    """Return what a report says about the machine, JSON-ready; see load and packages."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "deepmerge": deepmerge.__version__,
        "packages": packages(),
        "load": load(),
    }


def load() -> list[float] | None:
    """Return the load averages of 1, 5 and 15 minutes; None if the system has none."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def packages() -> dict[str, str]:
    """Return the versions of the installed packages that change what a measurement gives."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
