"""Each invariant breaks alone, and the table says which one, where and how."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import GraphError
from deepmerge.formats.read import read_network
from deepmerge.graph import Blob, Graph, Layer
from deepmerge.graph import params as typed
from deepmerge.graph.check import check, require
from tests.graph.graph_nets import convolution, data, layer

NET = (
    data(1, 3, 7, 5)
    + convolution("num_output: 4 kernel_h: 3 kernel_w: 2", "conv")
    + layer("ReLU", "", "relu", "conv", "conv")
    + convolution("num_output: 2 kernel_size: 1", "last", "conv")
)


@pytest.fixture
def graph(read):
    graph = read(NET)
    graph.layer("conv").weights = [np.ones((4, 3, 3, 2), np.float32), np.ones(4, np.float32)]
    return graph


def broken(graph: Graph) -> dict[str, str]:
    return {row.name: row.detail for row in check(graph) if not row.ok}


def test_sound_graphs_pass(graph, zoo):
    assert broken(graph) == {}
    require(graph)
    for name in ("inception_mini", "resnet50"):
        require(read_network(zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel"))
    assert len(check(graph)) == 10 and all(row.ok and not row.detail for row in check(graph))


def test_a_reader_before_its_producer(graph):
    graph.layers.insert(1, graph.layers.pop(2))
    assert broken(graph) == {
        "bottoms are made before they are read": "layer 'relu' (ReLU) reads 'conv', which is made only after it"
    }


def test_a_bottom_of_nobody(graph):
    last = graph.layer("last")
    graph.layer("relu").top.consumers.remove(last)
    last.bottoms = [Blob("lost", consumers=[last])]
    details = broken(graph)
    assert details == {
        "bottoms are made before they are read": "layer 'last' (Convolution) reads 'lost', which is made by no layer"
    }


def test_consumers_that_are_not_listed_or_listed_too_often(graph):
    last, relu = graph.layer("last"), graph.layer("relu")
    relu.top.consumers = []
    assert broken(graph) == {"readers are listed": "layer 'last' (Convolution) reads 'conv' 1 times, listed are 0"}
    relu.top.consumers = [last, last]
    assert broken(graph)["readers are listed"].endswith("1 times, listed are 2")


def test_tops_of_another_producer(graph):
    graph.layer("relu").top.producer = graph.layer("conv")
    assert list(broken(graph)) == ["tops name their producer"]
    words = "layer 'relu' (ReLU) makes 'conv', which names layer 'conv' (Convolution) as its producer"
    assert broken(graph)["tops name their producer"] == words
    graph.layer("relu").top.producer = None
    assert "names nobody as" in broken(graph)["tops name their producer"]


def test_a_top_made_twice(graph):
    blob = graph.layer("relu").top
    graph.layers.append(Layer("again", "ReLU", typed.ReLU(), [], [blob]))
    assert (
        broken(graph)["tops name their producer"]
        == "layer 'again' (ReLU) makes 'conv', which is among the tops already"
    )


def test_layers_of_one_name(graph):
    graph.layer("relu").name = "conv"
    assert broken(graph) == {"layer names are unique": "2 layers are called 'conv'"}


def test_parameters_of_another_type(graph):
    relu = graph.layer("relu")
    relu.params = typed.PReLU()
    assert broken(graph) == {"parameters are typed": "layer 'relu' (ReLU): parameters: expected ReLU, found PReLU"}
    relu.params = None
    assert broken(graph)["parameters are typed"].endswith("expected ReLU, found NoneType")
    relu.type = "Interp"
    assert broken(graph) == {}


def test_shapes_that_do_not_fit(graph):
    graph.layer("conv").params = typed.Convolution(num_output=4, kernel_h=8, kernel_w=2)
    assert broken(graph)["shapes fit"].startswith("layer 'conv' (Convolution): kernel: expected at most 7")


def test_weights_of_other_shapes(graph):
    conv = graph.layer("conv")
    conv.weights = [conv.weights[0].swapaxes(2, 3), conv.weights[1]]
    assert list(broken(graph)) == ["weights have Caffe's shapes"]
    conv.weights = [conv.weights[0].swapaxes(2, 3), conv.weights[1].reshape(1, 1, 1, 4)]
    assert "expected (4,), found (1, 1, 1, 4)" in broken(graph)["weights have Caffe's shapes"]


def test_weights_of_another_type_or_not_finite(graph):
    conv = graph.layer("conv")
    whole, bias = conv.weights
    conv.weights = [whole, bias.astype(np.float64)]
    assert broken(graph) == {
        "weights are float32 and finite": "layer 'conv' (Convolution): weight blob 1: expected float32, found float64"
    }
    conv.weights = [whole, np.array([1, np.nan, np.inf, 2], np.float32)]
    assert broken(graph)["weights are float32 and finite"].endswith("weight blob 1: 2 of 4 values are not finite")


def test_shared_weights_that_differ(read):
    body = 'param { name: "w" } inner_product_param { num_output: 5 bias_term: false }'
    graph = read(data(1, 5) + layer("InnerProduct", body, "a") + layer("InnerProduct", body, "b", "a"))
    one = np.arange(25, dtype=np.float32).reshape(5, 5)
    graph.layer("a").weights, graph.layer("b").weights = [one], [one.copy()]
    assert broken(graph) == {}
    graph.layer("b").weights = [one + 1]
    assert list(broken(graph)) == ["shared weights are equal"]
    assert broken(graph)["shared weights are equal"].endswith("share 'w', and their arrays differ")


def test_weights_that_are_shared_in_two_shapes(read):
    body = 'param { name: "w" share_mode: PERMISSIVE } inner_product_param { num_output: %d bias_term: false }'
    graph = read(data(1, 6) + layer("InnerProduct", body % 4, "a") + layer("InnerProduct", body % 6, "b", "a"))
    one = np.arange(24, dtype=np.float32).reshape(4, 6)
    graph.layer("a").weights, graph.layer("b").weights = [one], [one.reshape(6, 4).copy()]
    assert broken(graph) == {}
    graph.layer("b").weights = [one.reshape(6, 4) + 1]
    assert list(broken(graph)) == ["shared weights are equal"]


def test_no_output():
    assert list(broken(Graph("nothing"))) == ["there is an output"]


def test_require_names_the_first_broken_row(graph):
    graph.name = "net"
    graph.layer("relu").name = "conv"
    with pytest.raises(
        GraphError, match=r"^network 'net' is broken \(layer names are unique\): 2 layers are called 'conv'$"
    ):
        require(graph)
