"""Weights given to layers, their parameters following (passes/weights.py)."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.graph.check import require
from deepmerge.passes.support.weights import (
    bias_of,
    bias_or_zero,
    declare_bias,
    finite_weight_of,
    set_weights,
    weight_of,
)
from tests.helpers import conv, inputs, layer, network

PRODUCT = "num_output: 5 bias_term: false transpose: {}"


@pytest.mark.parametrize("transpose", ["true", "false"])
def test_an_inner_products_weights_are_outputs_by_inputs(tmp_path, transpose):
    graph = network(tmp_path, inputs((2, 3, 2)) + layer("ip", "InnerProduct", "data", PRODUCT.format(transpose)))
    ip = graph.layer("ip")
    assert weight_of(ip).shape == (5, 6)
    set_weights(ip, 2 * weight_of(ip), None)
    assert ip.weights[0].flags.c_contiguous and len(ip.weights) == 1 and not ip.params.bias_term
    require(graph)


def test_a_bias_is_declared(tmp_path):
    text = layer(
        "c", "Convolution", "data", "num_output: 4 kernel_size: 1 bias_term: false", param="param { lr_mult: 0.5 }"
    )
    graph = network(tmp_path, inputs((2, 3, 4, 5)) + text)
    c = graph.layer("c")
    assert bias_of(c) is None and not bias_or_zero(c).any() and bias_or_zero(c).shape == (4,)
    set_weights(c, c.weights[0], np.arange(4, dtype=np.float64))
    assert c.params.bias_term and bias_of(c).dtype == np.float32
    assert [str(spec.value("lr_mult")) for spec in c.param_specs] == ["0.5", "1"]
    declare_bias(c)
    assert len(c.param_specs) == 2
    require(graph)


def test_arrays_in_use_elsewhere_are_left(tmp_path):
    graph = network(tmp_path, inputs((2, 3, 4, 5)) + conv("c", "data", 4))
    c, before = graph.layer("c"), graph.layer("c").weights[0].copy()
    twin = graph.copy().layer("c")
    set_weights(c, c.weights[0] * 2, None)
    np.testing.assert_array_equal(twin.weights[0], before)


def test_rates_may_end_in_f(tmp_path):
    text = layer(
        "c", "Convolution", "data", "num_output: 4 kernel_size: 1 bias_term: false", param="param { lr_mult: 1f }"
    )
    c = network(tmp_path, inputs((2, 3, 4, 5)) + text).layer("c")
    declare_bias(c)
    assert str(c.param_specs[1].value("lr_mult")) == "2"


@pytest.mark.parametrize(("name", "word"), [("c", "c"), ("c;$x", "'c;$x'")])
def test_a_nan_is_said_with_what_to_type(tmp_path, name, word):
    c = network(tmp_path, inputs((2, 3, 4, 5)) + conv(name, "data", 4)).layer(name)
    c.weights[0][0] = np.nan
    with pytest.raises(PassError) as caught:
        finite_weight_of(c)
    assert caught.value.remedy == f"keep it with --keep {word}"
