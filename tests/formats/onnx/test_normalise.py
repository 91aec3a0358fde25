"""LRN, BatchNorm, MVN, Softmax, Reduction and ArgMax as ONNX, against real Caffe."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.write import write_caffemodel
from tests.formats.onnx.cases import TOLERANCE, compare, images, inputs, judge, layer, network

SHAPE = (2, 7, 6, 5)
LARGER = (3, *SHAPE[1:])


@pytest.mark.pitfall("row", 24)
def test_lrn(worker, tmp_path):
    text = inputs(SHAPE)
    cases = [
        "",
        "local_size: 3 alpha: 0.5 beta: 0.5",
        "k: 2 alpha: 0.01",
        "local_size: 9 alpha: 2 beta: 1.5 k: 0.5",
        "local_size: 1",
    ]
    for number, (params, region) in enumerate(itertools.product(cases, ("ACROSS_CHANNELS", "WITHIN_CHANNEL"))):
        text += layer(f"top{number}", "LRN", f"lrn_param {{ {params} norm_region: {region} }}")
    judge(worker, tmp_path, text, images(SHAPE), images(LARGER, low=-100, high=150))


@pytest.mark.pitfall("row", 29)
@pytest.mark.parametrize("factor", [2.5, 1.0, 0.0])
def test_batch_norm(worker, tmp_path, factor):
    text = inputs(SHAPE, (2, 7))
    for number, eps in enumerate(("", "eps: 1e-3", "eps: 2e-5 use_global_stats: true")):
        text += layer(f"top{number}", "BatchNorm", f"batch_norm_param {{ {eps} }}")
    text += layer("flat", "BatchNorm", "", "data1")
    graph = network(tmp_path, text)
    for norm in graph.layers[2:]:
        norm.weights[2] = np.float32([factor])
        norm.weights[1] = norm.weights[1] * np.float32(max(factor, 1))
    graph.layers[2].weights[1][3] = 1e-45  # a dead channel
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    caffe = worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    fed = images(SHAPE, (2, 7))
    with OrtEngine().load(graph) as session:
        found = session.forward(fed)
    for name, expected in caffe.forward(fed).items():
        compare(name, found[name], expected, TOLERANCE)


def test_statistics_of_the_batch_are_refused(tmp_path):
    text = inputs(SHAPE) + layer("bn", "BatchNorm", "batch_norm_param { use_global_stats: false }")
    with pytest.raises(EngineError, match=r"layer 'bn' \(BatchNorm\): use_global_stats is false"):
        to_onnx(network(tmp_path, text))


def test_mvn(worker, tmp_path):
    text = inputs(SHAPE)
    for number, (variance, across) in enumerate(itertools.product(("true", "false"), repeat=2)):
        for eps in ("", "eps: 0.5"):
            params = f"mvn_param {{ normalize_variance: {variance} across_channels: {across} {eps} }}"
            text += layer(f"top{number}{bool(eps):d}", "MVN", params)
    judge(worker, tmp_path, text, images(SHAPE), images(LARGER))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_mvn_of_fewer_axes(worker, tmp_path, shape):
    text = inputs(shape) + layer("each", "MVN") + layer("all", "MVN", "mvn_param { across_channels: true }")
    judge(worker, tmp_path, text, images(shape))


def test_softmax(worker, tmp_path):
    text = inputs(SHAPE, (2, 9))
    for axis in (1, 2, -1, 0):
        text += layer(f"axis{axis}", "Softmax", f"softmax_param {{ axis: {axis} }}")
    text += layer("flat", "Softmax", "", "data1")
    judge(worker, tmp_path, text, images(SHAPE, (2, 9)), images(LARGER, (3, 9), low=-90, high=90))


def test_reduction(worker, tmp_path):
    text = inputs(SHAPE)
    for operation, axis in itertools.product(("SUM", "ASUM", "SUMSQ", "MEAN"), (0, 1, 2, -1)):
        coeff = "coeff: -0.25" if axis == 2 else ""
        text += layer(
            f"{operation}{axis}", "Reduction", f"reduction_param {{ operation: {operation} axis: {axis} {coeff} }}"
        )
    # Images of different strength, so that the range is of the size of the sums.
    small, large = (
        images(shape)["data"] * np.float32([2, -1, 0.5])[: shape[0], None, None, None] for shape in (SHAPE, LARGER)
    )
    judge(worker, tmp_path, text, {"data": small + 1}, {"data": large - 1})


def test_argmax(worker, tmp_path):
    """To the bit, with ties, of which Caffe prefers the last."""
    text = inputs(SHAPE, (2, 9))
    for number, (axis, top_k, values) in enumerate(
        itertools.product(("", "axis: 1", "axis: -1"), (1, 3), ("false", "true"))
    ):
        params = f"argmax_param {{ {axis} top_k: {top_k} out_max_val: {values} }}"
        text += layer(f"top{number}", "ArgMax", params) + layer(f"flat{number}", "ArgMax", params, "data1")
    rng = np.random.default_rng(1)
    ties = {
        "data": rng.integers(0, 5, SHAPE).astype(np.float32),
        "data1": rng.integers(0, 4, (2, 9)).astype(np.float32),
    }
    judge(worker, tmp_path, text, ties, images(LARGER, (3, 9)), exact=True)
    text = inputs(SHAPE) + layer("batch", "ArgMax", "argmax_param { axis: 0 top_k: 2 }")
    judge(worker, tmp_path, text, images(SHAPE), exact=True)
