"""Each rule of each target: a network that breaks it, and one that does not. (TARGETS' facts, not a compiler, judge.)"""

from __future__ import annotations

import pytest

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Input
from deepmerge.targets.check import problems
from deepmerge.targets.names import TARGETS
from deepmerge.targets.target import load_target
from tests.helpers import conv, fill, inputs, layer, network, relu

IMAGE = inputs((1, 3, 9, 7))
TRAINING = layer("loss", "SoftmaxWithLoss", "ip label")
DATA = """layer { name: "feed" type: "Data" top: "data" top: "label" transform_param { crop_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
"""


def pool(params: str, shape: tuple[int, ...] = (1, 3, 99, 70)) -> str:
    return inputs(shape) + layer("name", "Pooling", "data", params)


def kind(name: str, kind: str, params: str = "") -> str:
    return IMAGE + layer(name, kind, "data", params)


def depthwise(kind: str, size: int) -> str:
    text = f"convolution_param {{ num_output: 3 kernel_size: {size} pad: 4 group: 3 }}"
    return IMAGE + f'layer {{ name: "name" type: "{kind}" bottom: "data" top: "name" {text} }}'


def concat(bottoms: int) -> str:
    return IMAGE + layer("name", "Concat", " ".join(["data"] * bottoms))


NORM = "use_global_stats: {}"
ASCEND = {
    "input-axes": (inputs((1, 3, 4, 5, 6)) + layer("a", "TanH", "data"), kind("a", "TanH")),
    "input-size": (inputs((1, 1, 4097, 2)) + layer("a", "TanH", "data"), inputs((1, 1, 4096, 2)) + layer("a", "TanH", "data")),
    "batchnorm-statistics": (kind("a", "BatchNorm", NORM.format("false")), kind("a", "BatchNorm", NORM.format("true"))),
    "pooling-kernel": (pool("kernel_h: 1 kernel_w: 256", (1, 1, 2, 300)), pool("kernel_h: 1 kernel_w: 255", (1, 1, 2, 300))),
    "pooling-stride": (pool("kernel_size: 60 stride_h: 64 stride_w: 1"), pool("kernel_size: 60 stride_h: 63 stride_w: 1")),
    "pooling-stride-for-kernel": (pool("kernel_size: 3 stride: 7"), pool("kernel_size: 3 stride: 6")),
    "pooling-average": (pool("pool: AVE kernel_size: 31"), pool("pool: AVE kernel_size: 30 stride: 1", (1, 3, 99, 64))),
    "concat-bottoms": (concat(1001), concat(1000)),
    "quantize-dilation": (IMAGE + conv("a", "data", 2, "kernel_size: 3 dilation: 2"), IMAGE + conv("a", "data", 2)),
    "quantize-transpose": (kind("a", "InnerProduct", "num_output: 2 transpose: true"), kind("a", "InnerProduct", "num_output: 2")),
    "quantize-axis": (kind("a", "InnerProduct", "num_output: 2 axis: 2"), kind("a", "InnerProduct", "num_output: 2 axis: 1")),
    "group-depthwise": (depthwise("DepthwiseConvolution", 3), depthwise("Convolution", 3)),
    "global-stats": (kind("a", "BatchNorm"), kind("a", "BatchNorm", NORM.format("true"))),
}  # fmt: skip
# By target and rule: a network that breaks it, and one that does not
CASES = {
    "ascend": ASCEND,
    "atlas500": ASCEND
    | {
        "convolution-axes": (
            inputs((1, 2, 5, 6, 7)) + conv("a", "data", 2, "kernel_size: 1 kernel_size: 1 kernel_size: 2"),
            IMAGE + conv("a", "data", 2),
        ),
        "distinct-tops": (IMAGE + conv("a", "data", 2, top="b"), IMAGE.replace('"input"', '"data"') + conv("b", "data", 2) + relu("b")),
        "no-training": (DATA + TRAINING, kind("a", "TanH")),
    },
    "sophon": {
        "dilation": (
            IMAGE + conv("a", "data", 2, "kernel_size: 2 dilation: 2 dilation: 1"),
            IMAGE + conv("a", "data", 2, "kernel_size: 2 dilation: 2 dilation: 2"),
        ),
        "pooling-method": (pool("pool: STOCHASTIC kernel_size: 2"), pool("pool: AVE kernel_size: 2")),
        "lrn-region": (kind("a", "LRN", "norm_region: WITHIN_CHANNEL"), kind("a", "LRN", "norm_region: ACROSS_CHANNELS")),
        "scale-axes": (
            inputs((1, 3, 4)) + layer("a", "Scale", "data"),
            inputs((1, 3)) + layer("a", "Scale", "data"),
        ),
        "batchnorm-statistics": ASCEND["batchnorm-statistics"],
        "axis-windows": (
            IMAGE + conv("a", "data", 2, "kernel_size: 3 kernel_size: 5"),
            IMAGE + conv("a", "data", 2, "kernel_h: 3 kernel_w: 5"),
        ),
    },
    "rknn2": {"depthwise-kernel": (depthwise("ConvolutionDepthwise", 9), depthwise("ConvolutionDepthwise", 8))},
    "nnie": {
        "input-channels": (inputs((1, 2, 4, 4)) + layer("a", "TanH", "data"), kind("a", "TanH")),
        "pooling-method": (pool("pool: STOCHASTIC kernel_size: 2"), pool("pool: MAX kernel_size: 2")),
        "group-depthwise": ASCEND["group-depthwise"],
        "proposal-tops": (
            IMAGE + layer("a", "Proposal", "data", tops="a b"),
            IMAGE + layer("a", "Proposal", "data", tops="a"),
        ),
        "custom-fields": (
            IMAGE + 'layer { name: "a" type: "Custom" bottom: "data" top: "a" custom_param { shape { dim: 1 } } relu_param { } }',
            IMAGE + 'layer { name: "a" type: "Custom" bottom: "data" top: "a" custom_param { shape { dim: 1 } } }',
        ),
    },
}  # fmt: skip
# Tested below, since no file can break them (Caffe refuses it), or since they need a caffemodel
APART = dict.fromkeys(("ascend", "atlas500"), {"input-dimensions", "pooling-pad-for-kernel", "same-layers"})
ROWS = [(target, rule, *texts) for target, rules in CASES.items() for rule, texts in rules.items()]


def broken(graph: Graph, target: str) -> set[str]:
    return {problem.rule for problem in problems(graph, load_target(target))}


@pytest.mark.parametrize("name", TARGETS)
def test_every_rule_has_a_case(name):
    target = load_target(name)
    assert {rule.name for rule in target.rules} | set(target.conventions) == set(CASES[name]) | APART.get(name, set())


@pytest.mark.parametrize(("target", "rule", "bad", "good"), ROWS, ids=[f"{t}-{r}" for t, r, *_ in ROWS])
def test_a_network_that_breaks_a_rule_and_one_that_does_not(tmp_path, target, rule, bad, good):
    assert rule in broken(network(tmp_path, bad, seed=None), target)
    assert rule not in broken(network(tmp_path, good, seed=None), target)


@pytest.mark.parametrize(("axis", "taken"), [(-3, True), (-2, False)])
def test_an_axis_may_be_counted_from_the_end(tmp_path, axis, taken):
    graph = network(tmp_path, kind("a", "InnerProduct", f"num_output: 2 axis: {axis}"), seed=None)
    assert ("quantize-axis" not in broken(graph, "ascend")) == taken
    if taken:
        graph = network(tmp_path, IMAGE + conv("a", "data", 2, f"kernel_size: 1 axis: {axis}"), seed=None)
        assert "convolution-axes" not in broken(graph, "atlas500")


def test_three_values_are_no_pair_of_width_and_height(tmp_path):
    """TARGETS says how sophon reads two values, and nothing about three."""
    graph = network(tmp_path, CASES["atlas500"]["convolution-axes"][0], seed=None)
    assert broken(graph, "sophon") == set()


TYPES = [(name, kind, False) for name in TARGETS for kind in load_target(name).refuses]
TYPES += [(name, kind, True) for name in TARGETS for kind in load_target(name).takes or ()]


@pytest.mark.parametrize(("target", "kind", "taken"), TYPES, ids=[f"{t}-{k}" for t, k, _ in TYPES])
def test_types(target, kind, taken):
    graph = Graph("net", [Layer("odd 'name'", kind)])
    assert ("type" not in broken(graph, target)) == taken


def test_a_type_that_is_in_no_list():
    graph = Graph("net", [Layer("a", "Oddity")])
    reasons = {name: [p.reason for p in problems(graph, load_target(name))] for name in TARGETS}
    assert {name for name, found in reasons.items() if found} == {"rknn2", "nnie"}
    assert reasons["rknn2"] == ["Oddity is not among the types that it is known to take"]
    assert 'type "Custom"' in reasons["nnie"][0]


def test_a_dimension_of_zero():
    def net(size: int) -> Graph:
        return Graph("net", [Layer("in", "Input", Input(shape=((1, size),)), tops=[Blob("in")])])

    assert "input-dimensions" in broken(net(0), "ascend")
    assert broken(net(1), "ascend") == set()


def test_a_pad_as_large_as_the_kernel(tmp_path):
    graph = network(tmp_path, pool("kernel_size: 3 pad: 2"), seed=None)
    assert "pooling-pad-for-kernel" not in broken(graph, "ascend")
    graph.layers[1].params = type(graph.layers[1].params)(kernel_h=3, kernel_w=3, pad_h=3, pad_w=0)
    assert "pooling-pad-for-kernel" in broken(graph, "ascend")


def test_global_pooling_has_no_window_to_break_rules(tmp_path):
    graph = network(tmp_path, pool("pool: AVE global_pooling: true", (1, 3, 400, 300)), seed=None)
    assert broken(graph, "ascend") == set()


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"Conv": "Convolution"}, "the caffemodel has no layer of this name; it has 'Conv'"),
        ({"conv": "convolution"}, "the caffemodel stores it as a convolution"),
        ({"conv": "Convolution"}, None),
        ({"conv": ""}, None),
        (None, None),
    ],
)
def test_the_same_layers_in_both_files(tmp_path, stored, reason):
    graph = network(tmp_path, IMAGE + conv("conv", "data", 2))
    fill(graph, 1)
    found = problems(graph, load_target("ascend"), stored)
    assert [problem.reason for problem in found] == ([reason] if reason else [])


def test_reasons_name_the_value_and_the_limit(tmp_path):
    graph = network(tmp_path, kind("a", "LRN", "norm_region: WITHIN_CHANNEL"), seed=None)
    (found,) = problems(graph, load_target("sophon"))
    assert found.entry() == {
        "layer": "a",
        "type": "LRN",
        "rule": "lrn-region",
        "reason": "norm_region is WITHIN_CHANNEL; it takes only ACROSS_CHANNELS; "
        "it ignores the field, so the results would be wrong",
    }


def test_what_is_for_quantizing_alone_says_so(tmp_path):
    graph = network(tmp_path, ASCEND["quantize-dilation"][0], seed=None)
    (found,) = problems(graph, load_target("ascend"))
    assert found.only_for == "quantizing (AMCT)"
    assert found.reason == "dilation is 2; it takes only 1 for quantizing (AMCT)"
