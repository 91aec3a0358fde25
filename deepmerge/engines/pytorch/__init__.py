"""Caffe's semantics in PyTorch, on a CPU or CUDA, forward and backward: the one engine besides Caffe that can train.

    net = TorchNet(graph, phase="TRAIN")
    scores = net({"data": images}, ["fc8"])["fc8"]
    scores.backward(...)
    net.store()

Importing this package loads torch; EngineError if it is not installed.
"""

from __future__ import annotations

from deepmerge.errors import EngineError
from deepmerge.text import flat

try:
    import torch  # noqa: F401
except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
    missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
    reason = "" if missing else f" (it cannot be imported: {flat(error)})"
    raise EngineError(f"engine 'torch' needs PyTorch{reason}", remedy="pip install 'deepmerge-caffe[torch]'") from None

from deepmerge.engines.pytorch.engine import TorchEngine, TorchSession
from deepmerge.engines.pytorch.net import TorchNet

__all__ = ["TorchEngine", "TorchNet", "TorchSession"]
