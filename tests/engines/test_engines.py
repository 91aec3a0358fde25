from __future__ import annotations

import subprocess
import sys

import pytest

from deepmerge.engines import engine
from deepmerge.errors import EngineError


def test_unknown_engine_names_candidates():
    with pytest.raises(EngineError, match="no engine 'cafe'; did you mean 'caffe'"):
        engine("cafe")
    with pytest.raises(EngineError, match="no engine 'xyz'; there are caffe, torch, ort"):
        engine("xyz")


def test_an_engine_whose_software_is_missing_says_how_to_get_it():
    """In a process of its own: here, torch may have been loaded."""
    code = """
import sys
sys.modules["torch"] = None
from deepmerge.engines import engine
from deepmerge.errors import EngineError
for _ in range(2):
    try:
        engine("torch")
    except EngineError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["engine 'torch' needs PyTorch; pip install 'deepmerge-caffe[torch]'"] * 2


def test_options_reach_the_engine(caffe_python):
    found = engine("caffe", python=caffe_python, timeout=12.0)
    assert (found.name, found.timeout) == ("caffe", 12.0)
