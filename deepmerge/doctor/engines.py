"""The engines that run networks: whether each is there and works."""

from __future__ import annotations

import importlib
import importlib.util

from deepmerge.doctor.check import Check
from deepmerge.doctor.packages import DISTRIBUTION, installed_version, reason
from deepmerge.errors import EngineError


def ort() -> Check:
    """Check that the default engine runs a network of one layer."""
    try:
        import onnxruntime

        run_one_layer()
        providers = list(onnxruntime.get_available_providers())
    except (ImportError, EngineError) as error:
        return Check("engine ort", "missing", reason(error), "pip install onnx onnxruntime")
    except Exception as error:
        return Check(
            "engine ort",
            "missing",
            f"does not run: {reason(error)}",
            "pip install --force-reinstall onnx onnxruntime",
        )
    return Check(
        "engine ort",
        "ok",
        f"runs a network; has {', '.join(providers)}",
        details={"version": onnxruntime.__version__, "providers": providers},
    )


def caffe() -> Check:
    """Report which real Caffe there is to compare with."""
    from deepmerge.engines.find_caffe import VARIABLE, describe, find_python

    remedy = f"`make caffe` in a checkout (CPython 3.7-3.9, x86-64 Linux), or set {VARIABLE} to a python that has it"
    try:
        python = find_python()
        about = None if python is None else describe(python)
    except EngineError as error:
        return Check("engine caffe", "warning", reason(error), f"correct {VARIABLE}, or unset it")
    if about is None:
        return Check("engine caffe", "absent", "no real Caffe was found; it is only needed to compare with", remedy)
    under = f"{python} (Python {about['python']}, numpy {about['numpy']})"
    found = f"Caffe {about['caffe']}, {about['layer_types']} layer types, under {under}"
    return Check("engine caffe", "ok", found, details={**about, "interpreter": str(python)})


def torch() -> Check:
    """Look at PyTorch; it is only imported, which takes seconds, if it is there."""
    if importlib.util.find_spec("torch") is None:
        return Check(
            "engine torch",
            "absent",
            "not installed; for recovery and fine-tuning",
            f"pip install '{DISTRIBUTION}[torch]'",
        )
    try:
        module = importlib.import_module("torch")
        run_one_layer("torch")
        devices = (
            [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
            if module.cuda.is_available()
            else []
        )
    except Exception as error:
        return Check(
            "engine torch",
            "warning",
            f"does not run: {reason(error)}",
            f"pip install --force-reinstall '{DISTRIBUTION}[torch]'",
        )
    version, built = str(module.__version__), module.version.cuda
    if devices:
        where = f"CUDA {built}: {', '.join(devices)}"
    else:
        where = f"CUDA {built}, but it finds no device" if built else "built without CUDA"
    details = {"version": version, "cuda": built if devices else None, "built_for_cuda": built, "devices": devices}
    return Check("engine torch", "ok", f"runs a network; PyTorch {version}, {where}", details=details)


def measured_with(name: str, package: str) -> Check:
    """Look at an engine that is used for timing alone."""
    from deepmerge.engines import engine

    try:
        engine(name)
    except EngineError as error:
        return Check(f"engine {name}", "absent", f"{error.reason}; for timing", error.remedy)
    except Exception as error:  # a broken installation can fail in any way
        return Check(
            f"engine {name}",
            "warning",
            f"cannot be imported: {reason(error)}",
            f"pip install --force-reinstall {package}",
        )
    version = installed_version(package) or "of unknown version"
    return Check(f"engine {name}", "ok", version, details={"version": version})


def run_one_layer(name: str = "ort") -> None:
    """Run ReLU(-1, 0, 2) on the engine; EngineError if the result is wrong."""
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
