"""Which engines read the ONNX files that convert writes, and what the others say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deepmerge.engines import engine
from deepmerge.engines.base import load_onnx, reads_onnx
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import write_onnx
from tests.helpers import conv, inputs, network


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, inputs((1, 3, 5, 4)) + conv("a", "data", 2))


@pytest.mark.parametrize("name", ["ort", "ort-lrn-op", "ort-int8"])
def test_engines_that_read_onnx_load_it(graph, tmp_path, name):
    write_onnx(graph, tmp_path / "a.onnx")
    assert reads_onnx(engine(name))
    with load_onnx(engine(name), tmp_path / "a.onnx", graph) as session:
        assert session.shapes == {"a": (1, 2, 5, 4)}


def test_an_engine_that_reads_no_onnx_refuses_it(graph, tmp_path):
    plain = SimpleNamespace(name="plain")
    assert not reads_onnx(plain)
    with pytest.raises(EngineError, match=r"engine 'plain' does not read ONNX files \(.*a\.onnx\); use --engine ort$"):
        load_onnx(plain, tmp_path / "a.onnx", graph)
