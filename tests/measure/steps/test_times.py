"""Which networks an engine may refuse without an end to the timing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepmerge.errors import EngineError
from deepmerge.graph.graph import Graph
from deepmerge.measure.harness.networks import Network, Source
from deepmerge.measure.steps.times import _left_out

NETWORKS = [
    Network(label, Source(label, Path("a.prototxt"), None, onnx), Graph(), False)
    for label, onnx in {"": None, "conv1": None, "int8": Path("out/model-int8.onnx")}.items()
]


def test_an_onnx_file_is_left_out():
    assert _left_out(NETWORKS, {}) == []
    assert _left_out(NETWORKS, {"int8": "why"}) == ["out/model-int8.onnx is left out of the times: why"]


@pytest.mark.parametrize(("label", "line"), [("", "the original: why"), ("conv1", "conv1: why")])
def test_any_other_network_must_run(label, line):
    with pytest.raises(EngineError, match=f"^{line}$"):
        _left_out(NETWORKS, {"int8": "another reason", label: "why"})
