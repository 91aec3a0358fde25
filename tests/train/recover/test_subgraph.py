"""Parts of networks make what the whole makes."""

from __future__ import annotations

import numpy as np

from deepmerge.engines import engine
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.subgraph import Part
from tests.helpers import conv, feeds, inputs, layer, network, relu

TEXT = inputs((2, 3, 9, 8)) + conv("a", "data", 4, "kernel_size: 3") + relu("a") + conv("b", "a", 4) + relu("b")
TEXT += layer("sum", "Eltwise", "a b") + conv("c", "sum", 5) + layer("d", "Concat", "c a")
TEXT += layer("pool", "Pooling", "d", "kernel_size: 2 stride: 2")


def values(graph, fed):
    names = list(dict.fromkeys(b.name for b in graph.blobs))
    return engine().load(graph).forward(fed, names)


def blob(graph, name, version=-1):
    return [b for b in graph.blobs if b.name == name][version]


def test_from_the_middle_to_the_middle(tmp_path):
    graph = network(tmp_path, TEXT)
    whole, shapes = values(graph, feeds(graph)), infer_shapes(graph)
    start, ends = [blob(graph, "a"), blob(graph, "b")], [blob(graph, "c"), blob(graph, "sum"), blob(graph, "a")]
    with Part(graph, start, ends, shapes, engine()) as part:
        assert [one.name for one in part.layers] == ["sum", "c"]
        made = part.run({b: whole[b.name] for b in start})
    assert list(made) and all(np.allclose(made[b], whole[b.name], atol=1e-5) for b in ends)


def test_a_blob_before_and_behind_a_layer_in_place(tmp_path):
    graph = network(tmp_path, TEXT)
    before, behind = blob(graph, "a", 0), blob(graph, "a")
    with Part(graph, graph.inputs, [before, behind], infer_shapes(graph), engine()) as part:
        made = part.run({graph.inputs[0]: feeds(graph)["data"]})
    assert made[before].min() < 0
    np.testing.assert_array_equal(np.maximum(made[before], 0), made[behind])


def test_nothing_to_run(tmp_path):
    graph = network(tmp_path, TEXT)
    with Part(graph, graph.inputs, graph.inputs, infer_shapes(graph), engine()) as part:
        fed = feeds(graph)["data"]
        assert part.layers == [] and part.run({graph.inputs[0]: fed})[graph.inputs[0]] is fed
