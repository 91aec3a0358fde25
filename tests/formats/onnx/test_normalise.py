"""LRN, BatchNorm, MVN, Softmax, Reduction and ArgMax as ONNX, against real Caffe."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest

from deepmerge.engines.ort import OrtEngine, OrtSession
from deepmerge.errors import EngineError
from deepmerge.formats import LRN_FORMS, OPERATOR, WRITTEN_OUT
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.write import write_caffemodel
from tests.formats.onnx.cases import TOLERANCE, compare, images, inputs, judge, layer, network

SHAPE = (2, 7, 6, 5)
LARGER = (3, *SHAPE[1:])


@pytest.mark.pitfall("row", 24)
@pytest.mark.parametrize("region, strength", [("ACROSS_CHANNELS", 6), ("WITHIN_CHANNEL", 150)])
def test_lrn(worker, tmp_path, region, strength):
    text = inputs(SHAPE)
    cases = [
        "",
        "local_size: 3 alpha: 0.5 beta: 0.5",
        "k: 2 alpha: 0.01",
        "local_size: 9 alpha: 2 beta: 1.5 k: 0.5",
        "local_size: 1",
    ]
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "LRN", f"lrn_param {{ {params} norm_region: {region} }}")
    judge(worker, tmp_path, text, images(SHAPE), images(LARGER, low=-strength, high=strength))


def exact_lrn(x, params):
    """LRN over channels in float64. Caffe keeps a running sum, whose rounding grows with the greatest square so far."""
    side, sums = params.local_size // 2, np.zeros(x.shape)
    for channel in range(x.shape[1]):
        near = x[:, max(channel - side, 0) : channel + side + 1].astype(np.float64)
        sums[:, channel] = np.square(near).sum(axis=1)
    return x * (params.k + params.alpha / params.local_size * sums) ** -params.beta


@pytest.mark.parametrize("form", LRN_FORMS)
@pytest.mark.parametrize("shape", [(2, 7, 6, 5), (1, 1, 3, 4), (2, 2, 1, 3), (3, 33, 4, 2)])
def test_lrn_over_channels_in_both_forms(worker, tmp_path, shape, form):
    """Windows from one channel to more than there are, all kinds of powers, and another batch than the declared one."""
    cases = [f"local_size: {size} alpha: {2 * size}" for size in (1, 3, 5, 7, 9, 11, 13, 81)]
    cases += [f"alpha: 3 beta: {beta}" for beta in (0.75, 0.5, 1, 0.25, 0.6, 0.0625, 1.5, 1.9375, 2, 0.03125)]
    cases += [f"alpha: {alpha} k: {k} beta: 0.75" for alpha, k in ((0.0001, 1), (50, 0.001), (0.02, 1000))]
    if form == WRITTEN_OUT:  # ONNX Runtime's LRN refuses these
        cases += ["beta: 0", "beta: -0.75", "alpha: 0 k: 2", "alpha: -0.0001 k: 9"]
    text = inputs(shape)
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "LRN", f"lrn_param {{ {params} }}")
    graph = network(tmp_path, text)
    onnx.checker.check_model(to_onnx(graph, lrn=form), full_check=True)
    caffe = worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    larger = (shape[0] + 3, *shape[1:])
    with OrtSession(graph, lrn=form) as session:
        for fed in (images(shape), images(larger, low=-20, high=30)):
            found, expected = session.forward(fed), caffe.forward(fed)
            for norm in graph.layers[1:]:
                exact = exact_lrn(fed["data"], norm.params)
                caffes = compare(norm.name, expected[norm.name], exact, 1e-4)
                compare(norm.name, found[norm.name], expected[norm.name], TOLERANCE + caffes)
                if form == WRITTEN_OUT:
                    compare(norm.name, found[norm.name], exact, 1e-6)


def test_lrn_is_one_node_or_none(tmp_path):
    graph = network(tmp_path, inputs(SHAPE) + layer("norm", "LRN") + layer("relu", "ReLU", "", "norm"))
    kinds = {form: [node.op_type for node in to_onnx(graph, lrn=form).graph.node] for form in LRN_FORMS}
    assert kinds[OPERATOR] == ["LRN", "Relu"]
    assert "LRN" not in kinds[WRITTEN_OUT] and "Pow" not in kinds[WRITTEN_OUT]


def test_lrn_of_values_whose_squares_nearly_overflow(worker, tmp_path):
    """The largest square is 2.3e38, so that a sum of squares before alpha/n would be infinite."""
    text = inputs(SHAPE) + layer("norm", "LRN", "lrn_param { alpha: 0.001 }")
    judge(worker, tmp_path, text, images(SHAPE, low=1e19, high=1.5e19))


def test_an_unknown_form_of_lrn_is_refused(tmp_path):
    graph = network(tmp_path, inputs(SHAPE) + layer("norm", "LRN"))
    with pytest.raises(EngineError, match="no form 'fast' of LRN") as caught:
        to_onnx(graph, lrn="fast")
    assert caught.value.remedy == "use one of written-out, op"


@pytest.mark.parametrize("free_batch", [True, False])
def test_networks_without_lrn_are_the_same_in_both_forms(tmp_path, free_batch):
    graph = network(tmp_path, inputs(SHAPE) + layer("relu", "ReLU") + layer("sum", "Reduction", "", "relu"))
    first, second = (to_onnx(graph, (), free_batch, form).SerializeToString() for form in LRN_FORMS)
    assert first == second


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


def test_a_reduction_of_a_fork_is_refused(tmp_path):
    text = inputs(SHAPE) + layer("r", "Reduction", "reduction_param { operation: PROD }")
    with pytest.raises(EngineError, match=r"^layer 'r' \(Reduction\): operation PROD cannot be written as ONNX"):
        to_onnx(network(tmp_path, text))


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
