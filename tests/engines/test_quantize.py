"""A network in int8, judged by what real Caffe computes in float32."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import onnx
import pytest

from deepmerge.engines.ort import OrtEngine, _session
from deepmerge.engines.quantize import keep_pools, quantize
from deepmerge.errors import EngineError
from deepmerge.formats import INT8_METHODS
from deepmerge.formats.onnx import to_onnx, write_model
from deepmerge.formats.write import write_pair
from tests.helpers import conv, inputs, layer, network, relu

# A pooling after int8, LRN, a pooling after it that a convolution and another pooling read, branches, a sum.
TEXT = (
    inputs((2, 3, 17, 15))
    + conv("conv1", "data", 12, "kernel_size: 3 pad: 1")
    + relu("conv1")
    + layer("pool1", "Pooling", "conv1", "kernel_size: 3 stride: 2")
    + layer("norm1", "LRN", "pool1", "local_size: 5 alpha: 0.1 beta: 0.75")
    + layer("pool2", "Pooling", "norm1", "kernel_size: 2 stride: 2")
    + conv("a", "pool2", 8)
    + relu("a")
    + layer("pool3", "Pooling", "pool2", "kernel_size: 3 stride: 1 pad: 1")
    + conv("b", "pool3", 8, "kernel_size: 3 pad: 1")
    + relu("b")
    + layer("both", "Concat", "a b")
    + conv("c", "both", 16, "kernel_size: 3 pad: 1")
    + layer("sum", "Eltwise", "c both")
    + layer("fc", "InnerProduct", "sum", "num_output: 7")
)


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, TEXT)


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(1)
    return [rng.uniform(-2, 3, (6, 3, 17, 15)).astype(np.float32) for _ in range(8)]


def feeds(batches):
    return [{"data": batch} for batch in batches]


def digest(model) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


@pytest.mark.parametrize("method", INT8_METHODS)
def test_int8_is_near_real_caffe(graph, batches, worker, tmp_path, method):
    pair = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    write_pair(graph, *pair)
    write_model(quantize(graph, feeds(batches), len(batches), method), tmp_path / "int8.onnx")
    fed = {"data": np.random.default_rng(2).uniform(-2, 3, (2, 3, 17, 15)).astype(np.float32)}
    with worker.load(*pair) as caffe, OrtEngine().load_onnx(tmp_path / "int8.onnx", graph) as session:
        wanted, found = caffe.forward(fed)["fc"], session.forward(fed)["fc"]
    error = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
    # uint8 rounds to 1/255 of a range, so that the parts of a sum are off by a percent or two; float32 by 1e-7
    assert 1e-4 < error < 0.05


def test_convolutions_are_int8_and_lrn_is_not(graph, batches):
    nodes = quantize(graph, feeds(batches), len(batches)).graph.node
    dequantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    read = {node.name: node.input[:2] for node in nodes if node.op_type in ("Conv", "Gemm")}
    assert len(read) == 5 and all(set(names) <= dequantized for names in read.values())
    arithmetic = [node for node in nodes if node.op_type in ("Mul", "Sqrt", "Div")]
    made = {name for node in arithmetic for name in node.output}
    quantized = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert arithmetic and not made & quantized


def test_kept_layers_stay_in_float32(graph, batches):
    model = quantize(graph, feeds(batches), len(batches), keep=["conv1", "fc"])
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert {name for name, weight in weights.items() if weight in stored} == {"conv1", "fc/Gemm"}


def test_poolings_of_float_values_stay_in_float32_and_the_model_computes_the_same(graph):
    plain, model = to_onnx(graph), to_onnx(graph)
    added = keep_pools(model, set())
    assert added == {"pool2", "pool2/Min", "pool3", "pool3/Min"}
    read = {node.name: node.input[0] for node in model.graph.node}
    assert read["pool3"] == read["pool2/Min"] and read["a"] == "pool2" and read["b"] == "pool3"
    fed = {"data": np.random.default_rng(2).normal(0, 1, (2, 3, 17, 15)).astype(np.float32)}
    values = [_session(one, 1).run(None, fed)[0] for one in (plain, model)]
    np.testing.assert_array_equal(*values)


def test_a_network_without_such_a_pooling_is_left_alone(tmp_path):
    model = to_onnx(
        network(tmp_path, inputs((1, 3, 9, 9)) + conv("a", "data", 4) + layer("p", "Pooling", "a", "kernel_size: 2"))
    )
    before = digest(model)
    assert keep_pools(model, set()) == set() and digest(model) == before


def test_blobs_may_have_the_names_of_what_quantization_adds(tmp_path, batches):
    text = inputs((2, 3, 17, 15)) + conv("c", "data", 4) + conv("c_scale", "c", 4) + conv("data_zero_point", "data", 4)
    text += (
        layer("fc", "Eltwise", "c c_scale data_zero_point")
        + relu("fc")
        + layer("fc_scale", "InnerProduct", "fc", "num_output: 7")
    )
    graph = network(tmp_path, text)
    write_model(quantize(graph, feeds(batches), len(batches)), tmp_path / "int8.onnx")
    engine = OrtEngine()
    with engine.load(graph) as exact, engine.load_onnx(tmp_path / "int8.onnx", graph) as rough:
        value, other = (session.forward({"data": batches[0][:2]})["fc_scale"] for session in (exact, rough))
    assert 0 < np.abs(value - other).max() < 0.1 * np.abs(value).max()


def test_an_extreme_image_widens_minmax_and_hardly_the_average(graph, batches):
    extreme = [*batches[:-1], batches[-1] * np.float32(50)]
    scales = {}
    for method in ("average", "minmax"):
        found = {
            t.name: onnx.numpy_helper.to_array(t) for t in quantize(graph, feeds(extreme), 8, method).graph.initializer
        }
        scales[method] = found["data_scale"]
    assert scales["minmax"] > 45 * 5 / 255 and scales["average"] < scales["minmax"] / 5


def test_the_same_bytes_in_every_process(graph, batches, tmp_path):
    """Sets of names, whose order differs from process to process, decide nothing."""
    write_pair(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    np.save(tmp_path / "batches.npy", np.stack(batches))
    code = (
        "import hashlib, numpy as np\nfrom deepmerge.engines.quantize import quantize\n"
        "from deepmerge.formats.read import read_network\n"
        f"graph = read_network({str(tmp_path / 'a.prototxt')!r}, {str(tmp_path / 'a.caffemodel')!r})\n"
        f"feeds = [{{'data': batch}} for batch in np.load({str(tmp_path / 'batches.npy')!r})]\n"
        "model = quantize(graph, feeds, len(feeds))\n"
        "print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop().strip()) == 64


def test_nothing_is_printed_and_sympy_is_not_needed(graph, batches, monkeypatch):
    monkeypatch.setitem(sys.modules, "sympy", None)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        quantize(graph, feeds(batches), len(batches), "entropy")
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_what_cannot_be_quantized(graph, batches):
    with pytest.raises(EngineError, match="no method 'best' for int8.*use one of average, minmax"):
        quantize(graph, feeds(batches), 8, "best")
    with pytest.raises(EngineError, match="ONNX Runtime cannot quantize the network"):
        quantize(graph, feeds([batch[:, :2] for batch in batches]), 8)


def test_a_file_of_another_network_is_refused(graph, batches, tmp_path):
    write_model(to_onnx(graph), tmp_path / "a.onnx")
    two = network(tmp_path, TEXT + layer("other", "InnerProduct", "pool1", "num_output: 3"))
    with pytest.raises(EngineError, match="is not of the network beside it"):
        OrtEngine().load_onnx(tmp_path / "a.onnx", two)
