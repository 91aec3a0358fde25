from __future__ import annotations

import pytest

from deepmerge.engines import engine
from deepmerge.errors import EngineError


def test_unknown_engine_names_candidates():
    with pytest.raises(EngineError, match="no engine 'cafe'; did you mean 'caffe'"):
        engine("cafe")
    with pytest.raises(EngineError, match="no engine 'xyz'; there are 'ort', 'caffe'"):
        engine("xyz")


def test_torch_is_not_there_yet():
    with pytest.raises(EngineError, match="not available yet"):
        engine("torch")


def test_options_reach_the_engine(caffe_python):
    found = engine("caffe", python=caffe_python, timeout=12.0)
    assert (found.name, found.timeout) == ("caffe", 12.0)
