"""What is installed, what is missing, and how to get it. Nothing here imports more than it looks at."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deepmerge
from deepmerge.errors import DeepmergeError, EngineError

FOLDER = Path(__file__).parent  # of the package; `deepmerge.__file__` is None where its __init__.py is gone
DISTRIBUTION = "deepmerge-caffe"
NAMESAKE = "deepmerge"  # somebody else's distribution on PyPI, with the same import name
NAMESAKE_FILES = ("merger.py", "strategy", "extended_set.py")  # what it puts into a folder of our package's name
# distribution → module
NEEDED = {
    "click": "click",
    "numpy": "numpy",
    "protobuf": "google.protobuf",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pillow": "PIL",
}
OPTIONAL = {"h5py": "HDF5 files"}
# engines that profile and bench measure on → their distribution
MEASURED_WITH = {"opencv": "opencv-python-headless", "mnn": "MNN", "ncnn": "ncnn"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    state: ok; absent (not there, and not needed); warning (there, but not as it should be); missing (needed, and not
    there or not working). found: in words. remedy: what to do, "" if nothing. details: for machines.
    """

    name: str
    state: str
    found: str
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def examine() -> list[Check]:
    """Everything, in the order in which it is worth reading. deepmerge can work if no state is `missing`."""
    return [
        deepmerge_itself(),
        namesake(),
        Check(
            "python",
            "ok",
            f"{platform.python_version()} ({sys.executable})",
            details={"version": platform.python_version()},
        ),
        *(package(name, module) for name, module in NEEDED.items()),
        *(optional_package(name, purpose) for name, purpose in OPTIONAL.items()),
        schema(),
        ort(),
        caffe(),
        torch(),
        *(measured_with(name, package) for name, package in MEASURED_WITH.items()),
        cuda(),
        cpu(),
        memory(),
    ]


def deepmerge_itself() -> Check:
    """Which deepmerge runs, and from where."""
    version = getattr(deepmerge, "__version__", None)
    details = {"version": version, "path": str(FOLDER)}
    installed = _version(DISTRIBUTION)
    again = f"pip install --force-reinstall {DISTRIBUTION} (in a checkout: pip install -e .)"
    if version is None:
        return Check("deepmerge", "missing", f"{FOLDER / '__init__.py'} is gone, or another package's", again, details)
    if installed is None:
        return Check("deepmerge", "ok", f"{version} in {FOLDER}, not installed by pip", details=details)
    if installed != version:
        return Check(
            "deepmerge", "warning", f"{version} in {FOLDER}, but pip has installed {installed}", again, details
        )
    return Check("deepmerge", "ok", f"{version} in {FOLDER}", details=details)


def namesake() -> Check:
    """PyPI's `deepmerge` merges dictionaries, and installs itself into a folder of the same name as ours."""
    name = f"PyPI's {NAMESAKE!r}"
    installed = _version(NAMESAKE)
    foreign = [file for file in NAMESAKE_FILES if (FOLDER / file).exists()]
    details = {"installed": installed, "files": foreign}
    if installed is None and not foreign and not hasattr(deepmerge, "always_merger"):
        return Check(name, "ok", "not installed (it is another package of the same import name)", details=details)
    remedy = f"pip uninstall {NAMESAKE}; pip install --force-reinstall {DISTRIBUTION} (who needs both needs two environments)"
    if hasattr(deepmerge, "always_merger"):
        return Check(
            name, "missing", "it has overwritten this package: `import deepmerge` gives that one", remedy, details
        )
    if installed is None:
        return Check(name, "warning", f"it has left {', '.join(foreign)} in {FOLDER}", remedy, details)
    return Check(
        name,
        "warning",
        f"{installed} is installed: another package that has the same import name as this one",
        remedy,
        details,
    )


def package(name: str, module: str) -> Check:
    """A package that deepmerge cannot do without: that it is there, and can be imported."""
    remedy = f"pip install '{name}{_wanted(name)}'"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return Check(name, "missing", "not installed", remedy)
        return Check(
            name, "missing", f"cannot be imported: {_one_line(error)}", f"pip install --force-reinstall {name}"
        )
    except Exception as error:  # a broken installation fails in any way it likes
        return Check(
            name,
            "missing",
            f"cannot be imported: {_one_line(error)}",
            f"pip install --force-reinstall '{name}{_wanted(name)}'",
        )
    version = _version(name) or getattr(sys.modules[module], "__version__", "of unknown version")
    return Check(name, "ok", version, details={"version": version})


def optional_package(name: str, purpose: str) -> Check:
    if importlib.util.find_spec(name) is None:
        return Check(name, "absent", f"not installed; for {purpose}", f"pip install {name}")
    version = _version(name) or "of unknown version"
    return Check(name, "ok", version, details={"version": version})


def schema() -> Check:
    """Caffe's schema loads under the protobuf that is here, and protobuf's classes can be made from it."""
    try:
        from deepmerge.formats import schema as caffe_schema

        layer_fields = len(caffe_schema.fields("LayerParameter"))
        caffe_schema.message_class("NetParameter")
    except DeepmergeError as error:
        return Check("schema", "missing", _one_line(error), "pip install -e . in a checkout builds it")
    except Exception as error:  # protobuf is broken, or too old or new
        return Check(
            "schema", "missing", f"does not load: {_one_line(error)}", f"pip install 'protobuf{_wanted('protobuf')}'"
        )
    return Check(
        "schema", "ok", f"caffe.proto, {layer_fields} fields in a layer", details={"layer_fields": layer_fields}
    )


def ort() -> Check:
    """The default engine runs a network of one layer."""
    try:
        import onnxruntime

        _run_one_layer()
        providers = list(onnxruntime.get_available_providers())
    except (ImportError, EngineError) as error:
        return Check("engine ort", "missing", _one_line(error), "pip install onnx onnxruntime")
    except Exception as error:
        return Check(
            "engine ort",
            "missing",
            f"does not run: {_one_line(error)}",
            "pip install --force-reinstall onnx onnxruntime",
        )
    return Check(
        "engine ort",
        "ok",
        f"runs a network; has {', '.join(providers)}",
        details={"version": onnxruntime.__version__, "providers": providers},
    )


def measured_with(name: str, package: str) -> Check:
    """An engine that `profile` and `bench` can measure on."""
    from deepmerge.engines import engine

    try:
        engine(name)
    except EngineError as error:
        return Check(f"engine {name}", "absent", f"{error.reason}; for profile and bench", error.remedy)
    except Exception as error:  # a broken installation fails in any way it likes
        return Check(
            f"engine {name}",
            "warning",
            f"cannot be imported: {_one_line(error)}",
            f"pip install --force-reinstall {package}",
        )
    version = _version(package) or "of unknown version"
    return Check(f"engine {name}", "ok", version, details={"version": version})


def _run_one_layer(name: str = "ort") -> None:
    import numpy as np

    from deepmerge.engines import engine
    from deepmerge.graph import Blob, Graph, Layer
    from deepmerge.graph.params import Input, ReLU

    graph = Graph("doctor", [Layer("x", "Input", Input(shape=((1, 3),)), [], [Blob("x")])])
    graph.insert(Layer("y", "ReLU", ReLU(), [graph.inputs[0]], [Blob("y")]))
    with engine(name).load(graph) as session:
        result = session.forward({"x": np.array([[-1, 0, 2]], np.float32)})["y"]
    if result.tolist() != [[0, 0, 2]]:
        raise EngineError(f"engine {name!r} makes {result.tolist()} of ReLU(-1, 0, 2)")


def caffe() -> Check:
    """Which real Caffe there is to judge by."""
    from deepmerge.engines.discover import VARIABLE, describe, find_python

    remedy = f"`make caffe` in a checkout (CPython 3.7-3.9, x86-64 Linux), or set {VARIABLE} to a python that has it"
    try:
        python = find_python()
        about = None if python is None else describe(python)
    except EngineError as error:
        return Check("engine caffe", "warning", _one_line(error), f"correct {VARIABLE}, or unset it")
    if about is None:
        return Check("engine caffe", "absent", "no real Caffe was found; it is only needed to judge by", remedy)
    under = f"{python} (Python {about['python']}, numpy {about['numpy']})"
    found = f"Caffe {about['caffe']}, {about['layer_types']} layer types, under {under}"
    return Check("engine caffe", "ok", found, details={**about, "interpreter": str(python)})


def torch() -> Check:
    """PyTorch is imported, which takes seconds, only where it is."""
    if importlib.util.find_spec("torch") is None:
        return Check(
            "engine torch",
            "absent",
            "not installed; for recovery and fine-tuning",
            f"pip install '{DISTRIBUTION}[torch]'",
        )
    try:
        module = importlib.import_module("torch")
        _run_one_layer("torch")
        devices = (
            [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
            if module.cuda.is_available()
            else []
        )
    except Exception as error:  # as above
        return Check(
            "engine torch",
            "warning",
            f"does not run: {_one_line(error)}",
            f"pip install --force-reinstall '{DISTRIBUTION}[torch]'",
        )
    version, built = str(module.__version__), module.version.cuda
    if devices:
        where = f"CUDA {built}: {', '.join(devices)}"
    else:
        where = f"CUDA {built}, but it finds no device" if built else "built without CUDA"
    details = {"version": version, "cuda": built if devices else None, "built_for_cuda": built, "devices": devices}
    return Check("engine torch", "ok", f"runs a network; PyTorch {version}, {where}", details=details)


def cuda() -> Check:
    """The graphics cards, as the driver's own tool lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("CUDA", "absent", "no nvidia-smi here; only recovery and fine-tuning would use a GPU")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("CUDA", "warning", f"{tool} does not run: {_one_line(error)}", "look at the driver")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        said = _one_line(done.stderr or done.stdout) or f"ended with status {done.returncode}"
        return Check("CUDA", "warning", f"{tool}: {said}", "look at the driver")
    return Check("CUDA", "ok", "; ".join(lines), details={"devices": lines})


def cpu() -> Check:
    """The processor's name, and how many of its cores this process may use."""
    model = _cpu_model()
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    found = f"{model}, {cores} cores" + (f", {usable} of them usable" if usable != cores else "")
    return Check("CPU", "ok", found, details={"model": model, "cores": cores, "usable_cores": usable})


def _cpu_model() -> str:
    try:
        match = re.search(
            r"^model name\s*:\s*(.+)$",
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"),
            re.MULTILINE,
        )
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine() or "unknown"


def memory() -> Check:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return Check("memory", "absent", "this system does not say")
    return Check("memory", "ok", f"{size / 1e9:,.1f} GB", details={"bytes": size})


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _wanted(name: str) -> str:
    """The versions that our own distribution asks for, such as ">=1.14"; "" where it is not installed."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for requirement in requirements:
        match = re.match(rf"{re.escape(name)}\s*([<>=!~][^;]*)?(;|$)", requirement, re.IGNORECASE)
        if match and "extra" not in requirement:
            return (match[1] or "").replace(" ", "")
    return ""


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
