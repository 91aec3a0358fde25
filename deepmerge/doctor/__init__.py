"""What is installed, what is missing, and how to get it. Each check imports only what it looks at."""

from __future__ import annotations

from functools import partial

from deepmerge.doctor.check import Check
from deepmerge.doctor.engines import caffe, measured_with, ort, torch
from deepmerge.doctor.machine import cpu, cuda, memory
from deepmerge.doctor.packages import deepmerge_itself, namesake, optional_package, package, python, schema
from deepmerge.progress import Progress, silent

__all__ = ["Check", "examine"]

# distribution → module
NEEDED = {
    "click": "click",
    "numpy": "numpy",
    "protobuf": "google.protobuf",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pillow": "PIL",
    "rich": "rich",
}
OPTIONAL = {"h5py": "HDF5 files"}
# engines that profile and bench measure on → their distribution
MEASURED_WITH = {"opencv": "opencv-python-headless", "mnn": "MNN", "ncnn": "ncnn"}


def examine(progress: Progress = silent) -> list[Check]:
    """Run all checks, the most important first. deepmerge works if no state is `missing`.

    progress: called with how many checks are done.
    """
    checks = (
        deepmerge_itself,
        namesake,
        python,
        *(partial(package, name, module) for name, module in NEEDED.items()),
        *(partial(optional_package, name, purpose) for name, purpose in OPTIONAL.items()),
        schema,
        ort,
        caffe,
        torch,
        *(partial(measured_with, name, distribution) for name, distribution in MEASURED_WITH.items()),
        cuda,
        cpu,
        memory,
    )
    found: list[Check] = []
    for check in checks:
        progress("checks", len(found), len(checks))
        found.append(check())
    return found
