"""The engine that runs any network in int8, for its times."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import USUAL, engine
from deepmerge.errors import EngineError
from tests.helpers import conv, inputs, layer, network, relu

WIDE = (
    inputs((1, 64, 28, 28))
    + conv("a", "data", 256, "kernel_size: 3 pad: 1")
    + relu("a")
    + conv("b", "a", 256, "kernel_size: 3 pad: 1")
)


def test_it_computes_in_int8_within_ranges_of_noise(tmp_path):
    graph, found = network(tmp_path, WIDE), {}
    fed = {"data": np.random.default_rng(1).uniform(-100, 100, (1, 64, 28, 28)).astype(np.float32)}
    for name in ("ort", "ort-int8"):
        with engine(name).load(graph) as session:
            assert session.outputs == ("b",) and session.time_once() > 0
            found[name] = session.forward(fed)["b"]
    error = np.sqrt(((found["ort-int8"] - found["ort"]) ** 2).mean() / (found["ort"] ** 2).mean())
    assert 1e-3 < error < 0.05
    assert "ort-int8" not in USUAL


def test_a_network_with_several_inputs(tmp_path):
    shapes = "".join(f"shape {{ dim: 1 dim: 3 dim: {n} dim: {n} }} " for n in (9, 9))
    text = (
        f'layer {{ name: "in" type: "Input" top: "x" top: "y" input_param {{ {shapes} }} }}'
        + layer("sum", "Eltwise", "x y")
        + conv("c", "sum", 4)
    )
    graph = network(tmp_path, text)
    rng = np.random.default_rng(1)
    fed = {name: rng.uniform(-100, 100, (1, 3, 9, 9)).astype(np.float32) for name in "xy"}
    with engine("ort-int8").load(graph) as rough, engine("ort").load(graph) as exact:
        made, wanted = rough.forward(fed)["c"], exact.forward(fed)["c"]
    assert 0 < np.median(np.abs(made - wanted)) < 0.02 * np.abs(wanted).max()  # the noise's range cuts off a few


def test_a_network_without_weights_is_refused(tmp_path):
    graph = network(tmp_path, WIDE)
    graph.layer("a").weights = []
    with pytest.raises(EngineError, match="layer 'a'"):
        engine("ort-int8").load(graph)
