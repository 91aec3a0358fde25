from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.errors import GraphError
from deepmerge.formats.read import read_network
from deepmerge.measure.harness.fill import fill
from tests.helpers import conv, inputs, layer, network


@pytest.mark.parametrize("name", ["resnet50", "squeezenet_v1.1"])
def test_activations_stay_where_floats_are_fast(models, name):
    """Neither overflow nor denormal numbers, however deep the network."""
    graph = read_network(models / name / "deploy.prototxt")
    fill(graph)
    with engine("ort").load(graph) as session:
        shape = next(iter(session.inputs.values()))
        feeds = {"data": np.random.default_rng(0).uniform(-128, 127, (1, *shape[1:]))}
        tops = [one.top.name for one in graph.layers if one.type in ("Convolution", "InnerProduct")]
        for top, values in session.forward(feeds, tops).items():
            assert np.isfinite(values).all() and 1e-3 < np.abs(values).max() < 1e12, top


def test_what_is_there_stays_and_sharers_share(tmp_path):
    shared = 'param { name: "w" }'
    text = (
        inputs((1, 4, 5, 6))
        + layer("a", "Convolution", "data", "num_output: 4 kernel_size: 1 bias_term: false", param=shared)
        + layer("b", "Convolution", "a", "num_output: 4 kernel_size: 1 bias_term: false", param=shared)
        + layer("bn", "BatchNorm", "b")
        + conv("c", "bn", 3)
    )
    graph = network(tmp_path, text, seed=None)
    kept = graph.layer("c").weights = [np.full((3, 4, 1, 1), 7, np.float32), np.zeros(3, np.float32)]
    fill(graph)
    assert graph.layer("c").weights is kept
    assert (
        np.array_equal(graph.layer("a").weights[0], graph.layer("b").weights[0])
        and np.ptp(graph.layer("a").weights[0]) > 0
    )
    mean, variance, factor = graph.layer("bn").weights
    assert not mean.any() and (variance == 1).all() and factor == [1]


def test_a_layer_whose_weights_are_not_known(tmp_path):
    graph = network(tmp_path, inputs((1, 3, 5, 4)) + conv("c", "data", 2), seed=None)
    graph.layer("c").params = None
    with pytest.raises(GraphError, match="'c' .*give the network its caffemodel"):
        fill(graph)
