"""The facts about layer types agree with each other, and with the weights that their rules give."""

from __future__ import annotations

import pytest

from deepmerge.graph.graph import Layer
from deepmerge.graph.params import InnerProduct, Input
from deepmerge.graph.shapes import expected_weights
from deepmerge.graph.types import TYPES, UNKNOWN
from tests.graph.graph_nets import convolution, data, layer


@pytest.mark.parametrize("name", TYPES)
def test_facts_agree(name):
    kind = TYPES[name]
    assert kind.convolution or not kind.depthwise
    assert kind.linear or not kind.convolution
    assert kind.tensor or not kind.linear
    assert kind.shares_memory or not kind.view
    assert kind.weights or (kind.bias is None and not kind.statistics and not kind.typical and not kind.tensor)
    assert not (kind.activation and kind.linear)
    assert kind.bias not in kind.statistics


def test_an_unknown_type_has_no_facts():
    assert Layer("l", "MyLayer").kind is UNKNOWN
    assert Layer("l", "Input", Input()).kind is TYPES["Input"]
    assert UNKNOWN.params is None and UNKNOWN.shape is None and not UNKNOWN.in_place


def test_depthwise_types_are_those_with_a_group_for_each_channel():
    assert {name for name, kind in TYPES.items() if kind.depthwise} == {"ConvolutionDepthwise", "DepthwiseConvolution"}
    assert TYPES["InnerProduct"].params is InnerProduct and not TYPES["InnerProduct"].convolution


def test_statistics_and_biases_are_among_the_weights(read):
    graph = read(
        data(2, 4, 6, 6)
        + convolution("num_output: 4 kernel_size: 1", "conv")
        + layer("BatchNorm", "", "bn", "conv")
        + layer("Scale", "scale_param { bias_term: true }", "scale", "bn")
    )
    counts = {"conv": 2, "bn": 3, "scale": 2}
    for name, count in counts.items():
        found = graph.layer(name)
        assert len(expected_weights(found, [(2, 4, 6, 6)])) == count
        assert all(index < count for index in found.kind.statistics)
        assert found.kind.bias is None or found.kind.bias < count


def test_a_second_bottom_takes_the_place_of_the_first_weight_blob(read):
    """Caffe: scale_layer.cpp: the bias is blob 1, or blob 0 if the factors are a bottom."""
    scales = {"learned": "x", "fed": "x x"}
    text = "".join(
        layer("Scale", "scale_param { axis: 0 bias_term: true }", name, bottoms) for name, bottoms in scales.items()
    )
    learned, fed = (read(data(2, 4) + text).layer(name) for name in scales)
    assert learned.kind.bias == learned.role(1) == fed.role(0) and learned.role(0) == 0
