"""Parts of a network make what the whole makes, with the current weights, and nothing that was kept is run again."""

from __future__ import annotations

import numpy as np

from deepmerge.engines import engine
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.incremental import Part, Walk
from tests.helpers import conv, feeds, inputs, layer, network, relu

TEXT = inputs((2, 3, 9, 8)) + conv("a", "data", 4, "kernel_size: 3") + relu("a") + conv("b", "a", 4) + relu("b")
TEXT += layer("sum", "Eltwise", "a b") + conv("c", "sum", 5) + layer("d", "Concat", "c a")
TEXT += layer("pool", "Pooling", "d", "kernel_size: 2 stride: 2")


def values(graph, fed):
    return engine().load(graph).forward(fed, list(dict.fromkeys(b.name for b in graph.blobs)))


def blob(graph, name, version=-1):
    return [b for b in graph.blobs if b.name == name][version]


def test_a_walk_runs_on_from_where_it_was_with_the_weights_of_now(tmp_path):
    graph = network(tmp_path, TEXT)
    data, calls = np.random.default_rng(1).normal(size=(6, 3, 9, 8)).astype(np.float32), []

    def given():
        calls.append(1)
        return iter([{"data": data[:4]}, {"data": data[4:]}])

    for memory in (1 << 20, 0):
        calls.clear()
        walk = Walk(graph, given, 6, engine(), memory=memory)
        changing = [graph.layer("b"), graph.layer("c")]
        ends = [blob(graph, "b"), blob(graph, "d")]
        front = walk.front_before(changing, ends)
        assert [b.name for b in front] == ["a"]
        first = np.concatenate([v[ends[0]] for v in walk.through(front, ends[:1])])
        np.testing.assert_allclose(first, values(graph, {"data": data})["b"], atol=1e-5)
        graph.layer("b").weights = [w * 2 for w in graph.layer("b").weights]
        front = walk.front_before(changing[1:], ends[1:])
        assert [b.name for b in front] == ["sum", "a"]
        second = np.concatenate([v[ends[1]] for v in walk.through(front, ends[1:])])
        np.testing.assert_allclose(second, values(graph, {"data": data})["d"], atol=1e-5)
        assert len(calls) == (1 if memory else 2)


def test_a_front_after_holds_all_that_is_read_later(tmp_path):
    graph = network(tmp_path, TEXT)
    walk = Walk(graph, lambda: iter(()), 0, engine())
    assert {b.name for b in walk.front_after(blob(graph, "b"), [blob(graph, "d")])} == {"a", "b"}
    assert {b.name for b in walk.front_after(blob(graph, "c"), [blob(graph, "sum"), blob(graph, "pool")])} == {
        "a",
        "c",
        "sum",
    }


def test_from_the_middle_to_the_middle(tmp_path):
    graph = network(tmp_path, TEXT)
    whole, shapes = values(graph, feeds(graph)), infer_shapes(graph)
    start, ends = [blob(graph, "a"), blob(graph, "b")], [blob(graph, "c"), blob(graph, "sum"), blob(graph, "a")]
    with Part(graph, start, ends, shapes, engine()) as part:
        assert [one.name for one in part.layers] == ["sum", "c"]
        made = part.run({b: whole[b.name] for b in start})
    assert list(made) and all(np.allclose(made[b], whole[b.name], atol=1e-5) for b in ends)


def test_a_blob_before_and_after_a_layer_in_place(tmp_path):
    graph = network(tmp_path, TEXT)
    before, after = blob(graph, "a", 0), blob(graph, "a")
    with Part(graph, graph.inputs, [before, after], infer_shapes(graph), engine()) as part:
        made = part.run({graph.inputs[0]: feeds(graph)["data"]})
    assert made[before].min() < 0
    np.testing.assert_array_equal(np.maximum(made[before], 0), made[after])


def test_nothing_to_run(tmp_path):
    graph = network(tmp_path, TEXT)
    with Part(graph, graph.inputs, graph.inputs, infer_shapes(graph), engine()) as part:
        fed = feeds(graph)["data"]
        assert part.layers == [] and part.run({graph.inputs[0]: fed})[graph.inputs[0]] is fed
