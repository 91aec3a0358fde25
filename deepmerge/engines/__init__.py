"""Engines run networks. Each one is imported only when it is asked for, by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepmerge.errors import EngineError
from deepmerge.text import did_you_mean

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

# name → (module, class). The first one is the default.
ENGINES = {
    "ort": ("deepmerge.engines.ort", "OrtEngine"),
    "torch": ("deepmerge.engines.pytorch", "TorchEngine"),
    "caffe": ("deepmerge.engines.caffe", "CaffeEngine"),
    "opencv": ("deepmerge.engines.opencv", "OpencvEngine"),
    "mnn": ("deepmerge.engines.mnn", "MnnEngine"),
    "ncnn": ("deepmerge.engines.ncnn", "NcnnEngine"),
}


def engine(name: str = "ort", **options: Any) -> Engine:
    """The engine called ``name``; ``options`` go to its constructor.

    Raises EngineError for a name that is not an engine, and for one whose software is missing.
    """
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}; {did_you_mean(name, ENGINES)}")
    module, kind = ENGINES[name]
    return getattr(importlib.import_module(module), kind)(**options)
