"""A walk makes what the whole network makes, with the weights of the moment, and runs nothing twice that it could keep."""

from __future__ import annotations

import numpy as np

from deepmerge.engines import engine
from deepmerge.train.recover.incremental import Walk
from tests.helpers import conv, inputs, layer, network, relu

TEXT = inputs((2, 3, 9, 8)) + conv("a", "data", 4, "kernel_size: 3") + relu("a") + conv("b", "a", 4) + relu("b")
TEXT += layer("sum", "Eltwise", "a b") + conv("c", "sum", 5) + layer("d", "Concat", "c a")
TEXT += layer("pool", "Pooling", "d", "kernel_size: 2 stride: 2")


def values(graph, fed):
    return engine().load(graph).forward(fed, list(dict.fromkeys(b.name for b in graph.blobs)))


def blob(graph, name):
    return [b for b in graph.blobs if b.name == name][-1]


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


def test_a_front_behind_holds_all_that_is_read_later(tmp_path):
    graph = network(tmp_path, TEXT)
    walk = Walk(graph, lambda: iter(()), 0, engine())
    assert {b.name for b in walk.front_behind(blob(graph, "b"), [blob(graph, "d")])} == {"a", "b"}
    assert {b.name for b in walk.front_behind(blob(graph, "c"), [blob(graph, "sum"), blob(graph, "pool")])} == {
        "a",
        "c",
        "sum",
    }
