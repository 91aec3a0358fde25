from __future__ import annotations

import pytest

from deepmerge.graph.costs import summary
from deepmerge.plan.sketch import shapes_say_weights, sketch, without_weights
from tests.helpers import conv, inputs, layer, network


@pytest.mark.parametrize(("batch", "known"), [(0, True), (2, False)])
def test_costs_without_weights_are_the_same_where_shapes_say_so(tmp_path, batch, known):
    """A Reshape for two images makes one image half as wide."""
    text = inputs((2, 4, 6, 6)) + conv("conv", "data", 8, "kernel_size: 3")
    text += layer("flat", "Reshape", "conv", f"shape {{ dim: {batch} dim: -1 }}")
    text += layer("fc", "InnerProduct", "flat", "num_output: 5")
    graph = network(tmp_path, text)
    before = summary(graph)
    assert shapes_say_weights(graph) is known
    without_weights(graph)
    assert (summary(graph) == before) is known and not any(one.weights for one in graph.layers)


def test_a_sketch_leaves_the_network_alone(tmp_path):
    graph = network(tmp_path, inputs((2, 4, 6, 6)) + conv("conv", "data", 8, "kernel_size: 3"))
    made = sketch(graph)
    assert (
        not made.layer("conv").weights and graph.layer("conv").weights and made.layer("conv") is not graph.layer("conv")
    )
