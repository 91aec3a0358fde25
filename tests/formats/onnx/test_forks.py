"""Forks' layers as ONNX: against real Caffe, which runs their twins (fork_twins.py)."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.read import read_network
from deepmerge.graph.graph import Graph
from tests.fork_cases import CASES, SHAPE, fork
from tests.fork_nets import NETS, fill
from tests.fork_twins import interpolated, run_twin
from tests.formats.onnx.cases import compare
from tests.helpers import feeds, inputs


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> Graph:
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return fill(read_network(path))

    return read


@pytest.mark.parametrize("name", CASES)
def test_layers(name, read, worker, tmp_path):
    graph = read(inputs(SHAPE) + CASES[name])
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    fed = {"data": np.random.default_rng(3).uniform(-4, 9, SHAPE).astype(np.float32)}
    expected = run_twin(worker, tmp_path, graph, fed)
    with OrtEngine().load(graph) as session:
        found = session.forward(fed)
        compare("y", found["y"], expected["y"])
        larger = np.concatenate([fed["data"], fed["data"][:1]])
        np.testing.assert_allclose(session.forward({"data": larger})["y"][:2], found["y"], rtol=1e-5, atol=1e-5)
    assert to_onnx(graph).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.pitfall("row", 28)
@pytest.mark.parametrize("factor", [(2, 12), (2, 12, 1, 1)])
def test_axpy(factor, read, worker, tmp_path):
    graph = read(inputs(factor, SHAPE, SHAPE) + fork("Axpy", "", "data data1 data2"))
    fed = feeds(graph)
    with OrtEngine().load(graph) as session:
        compare("y", session.forward(fed)["y"], run_twin(worker, tmp_path, graph, fed)["y"])


def test_a_crop_of_the_batch(read, worker, tmp_path):
    shape = (5, 2, 3, 4)
    graph = read(
        inputs(shape) + fork("CropCenter", "crop_center_param { crop_size: 2 crop_size: 0 crop_size: 1 crop_size: 0 }")
    )
    fed = feeds(graph)
    with OrtEngine().load(graph) as session:
        compare("y", session.forward(fed)["y"], run_twin(worker, tmp_path, graph, fed)["y"], 0)


def test_interp_by_hand():
    """Corners on corners: 3 values to 5, and 2 to 4; DeepLab, interp.cpp."""
    assert (interpolated(3, 5) @ [0, 10, 30]).tolist() == [0, 5, 10, 20, 30]
    np.testing.assert_allclose(interpolated(2, 4) @ [0, 3], [0, 1, 2, 3])
    assert (interpolated(4, 1) @ [7, 8, 9, 1]).tolist() == [7]


def test_reorg_is_darknets(read):
    """darknet: blas.c, reorg_cpu, with forward 0, written out."""
    graph = read(inputs((1, 8, 4, 6)) + fork("Reorg", "reorg_param { stride: 2 }"))
    x = np.arange(8 * 4 * 6, dtype=np.float32)
    (c, h, w), s, expected = (8, 4, 6), 2, np.zeros_like(x)
    for k, j, i in np.ndindex(c, h, w):
        c2, offset = k % (c // s**2), k // (c // s**2)
        expected[i + w * (j + h * k)] = x[(i * s + offset % s) + w * s * ((j * s + offset // s) + h * s * c2)]
    with OrtEngine().load(graph) as session:
        np.testing.assert_array_equal(session.forward({"data": x.reshape(1, 8, 4, 6)})["y"].ravel(), expected)


@pytest.mark.parametrize("name", ["pspnet", "senet", "shufflenet", "nvcaffe"])
def test_networks(name, read, worker, tmp_path):
    graph = read(NETS[name])
    fed = feeds(graph)
    expected = run_twin(worker, tmp_path, graph, fed)
    with OrtEngine().load(graph) as session:
        found = session.forward(fed)
    assert found.keys() == expected.keys()
    for output, array in expected.items():
        compare(output, found[output], array)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            fork("PriorBox", "prior_box_param { min_size: 3 }"),
            "layer 'y' (PriorBox): this type cannot be written as ONNX",
        ),
        (fork("DetectionOutput"), "layer 'y' (DetectionOutput): this type cannot be written as ONNX"),
        (fork("Python"), "layer 'y' (Python): the type is not known"),
        (fork("Upsample", "upsample_param { scale: 2 mode: BILINEAR }"), "layer 'y' (Upsample): the type is not known"),
        (fork("Upsample", "", "data data"), "layer 'y' (Upsample): unpooling by a mask cannot be written as ONNX"),
        (
            fork("BN", "bn_param { bn_mode: LEARN }"),
            "layer 'y' (BN): bn_param does not say that it uses stored statistics",
        ),
        (
            fork("Dropout", "dropout_param { sample_weights_test: true }"),
            "layer 'y' (Dropout): sample_weights_test, which drops values in TEST, too, cannot be written",
        ),
        (
            fork("Interp", 'interp_param { zoom_factor: 2 interp_type: "nearest_neighbor" }'),
            "interp_type 'nearest_neighbor' cannot be written",
        ),
    ],
)
def test_what_cannot_be_written_is_said(read, text, message):
    with pytest.raises(EngineError) as refusal:
        to_onnx(read(inputs(SHAPE) + text))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
