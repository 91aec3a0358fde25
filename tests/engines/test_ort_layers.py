from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.engines.ort_layers import node_layers
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.read import read_network
from tests.helpers import conv, inputs, layer, network, relu

# Layers that are several nodes (AVE pooling with overhang, Scale on an axis), none (Dropout, Split) or share a prefix
TEXT = (
    inputs((1, 4, 13, 10))
    + conv("c", "data", 6, "kernel_h: 3 kernel_w: 2")
    + relu("c")
    + conv("c/Conv", "c", 5, "kernel_size: 1")
    + layer("pool", "Pooling", "c/Conv", "pool: AVE kernel_size: 3 stride: 2 pad: 1")
    + layer("drop", "Dropout", "pool", tops="pool")
    + layer("norm", "LRN", "pool", "norm_region: WITHIN_CHANNEL local_size: 3")
    + layer("power", "Power", "norm", "power: 2 scale: 0.5 shift: 1")
)


def test_every_node_is_of_the_layer_that_wrote_it(tmp_path):
    graph = network(tmp_path, TEXT)
    pairs = node_layers(graph, to_onnx(graph, free_batch=False))
    assert [(node.name, one.name) for node, one in pairs if one.name in ("c", "c/relu", "c/Conv")] == [
        ("c", "c"), ("c/relu", "c/relu"), ("c/Conv", "c/Conv")]  # fmt: skip
    order = [one for one in graph.layers if one.type != "Input"]
    ranks = [order.index(one) for _, one in pairs]
    assert ranks == sorted(ranks)  # nodes are written layer by layer
    for node, one in pairs:
        assert node.name == one.name or node.name.startswith(f"{one.name}/{node.op_type}"), (node.name, one.name)
    assert len([one for _, one in pairs if one.name == "power"]) > 1


def test_layers_times(tmp_path):
    graph = network(tmp_path, TEXT)
    with engine("ort").load(graph) as session:
        session.forward({"data": np.ones((3, 4, 13, 10), np.float32)})  # another batch than the declared one
        times = session.time_layers(repeat=4, warmup=1)
    assert [(name, kind) for name, kind, _ in times] == [
        (one.name, one.type) for one in graph.layers if one.type != "Input"
    ]
    assert all(len(seconds) == 4 for _, _, seconds in times) and len(session.forward_seconds) == 4
    named = {name: seconds for name, _, seconds in times}
    assert max(named["c"]) > 0 and max(named["norm"]) > 0
    for turn, whole in enumerate(session.forward_seconds):
        assert sum(seconds[turn] for seconds in named.values()) <= whole


def test_a_trained_network(models):
    mini = models / "inception_mini/inception_mini"
    graph = read_network(f"{mini}.prototxt", f"{mini}.caffemodel")
    with engine("ort").load(graph) as session:
        named = {name: np.median(seconds) for name, _, seconds in session.time_layers(repeat=3, warmup=1)}
    assert len(named) == 57 and named["conv2/norm2"] > named["loss3/classifier"]
    assert named["pool5/drop"] == pytest.approx(0, abs=1e-4)
