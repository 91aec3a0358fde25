"""Engines run networks. Each is imported only when it is asked for, by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepmerge.errors import EngineError
from deepmerge.text import did_you_mean

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

# name → (module, class), in the order of tables: the reference, then what trains, then what runs
ENGINES = {
    "caffe": ("deepmerge.engines.caffe", "CaffeEngine"),
    "torch": ("deepmerge.engines.pytorch", "TorchEngine"),
    "ort": ("deepmerge.engines.ort", "OrtEngine"),
    "ort-lrn-op": ("deepmerge.engines.ort", "OrtLrnOpEngine"),
    "ort-int8": ("deepmerge.engines.ort_int8", "OrtInt8Engine"),
    "opencv": ("deepmerge.engines.opencv", "OpencvEngine"),
    "mnn": ("deepmerge.engines.mnn", "MnnEngine"),
    "ncnn": ("deepmerge.engines.ncnn", "NcnnEngine"),
}
DEFAULT = "ort"
USUAL = ("caffe", "torch", "ort", "opencv", "mnn", "ncnn")  # those that are measured unless others are asked for
TIMES_ALONE = ("ort-int8",)  # their process takes more memory to prepare a network than to run it


def engine(name: str = DEFAULT, **options: Any) -> Engine:
    """Return the engine called `name`; `options` go to its constructor.

    EngineError for a name that is not an engine, and for an engine whose software is missing.
    """
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}", remedy=did_you_mean(name, ENGINES))
    module, kind = ENGINES[name]
    return getattr(importlib.import_module(module), kind)(**options)
