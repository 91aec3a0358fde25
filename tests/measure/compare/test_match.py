"""Which networks can be compared, and which of their blobs."""

from __future__ import annotations

import pytest

from deepmerge.errors import GraphError
from deepmerge.measure.compare.match import Matched, makers, match_inputs, match_layers, match_outputs


def data(*dims, name="data"):
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}\n'


def layer(kind, bottom, top, body=""):
    return f'layer {{ name: "{kind}_{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {body} }}\n'


def relu(bottom, top):
    return layer("ReLU", bottom, top)


def pool(bottom, top, size):
    return layer("Pooling", bottom, top, f"pooling_param {{ kernel_size: {size} stride: {size} }}")


def test_the_batch_may_differ(network):
    a, b = (network(data(n, 3, 8, 6) + relu("data", "y")) for n in (2, 10))
    assert match_inputs(a, b) == {"data": (2, 3, 8, 6)}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (data(1, 3, 8, 7), r"input 'data' is \(1, 3, 8, 6\) in A and \(1, 3, 8, 7\) in B"),
        (data(1, 3, 8), r"input 'data' is \(1, 3, 8, 6\) in A and \(1, 3, 8\) in B"),
        (data(1, 3, 8, 6, name="image"), "A's inputs are 'data', B's 'image'"),
        (data(1, 3, 8, 6) + data(1, 3, name="info"), "A's inputs are 'data', B's 'data', 'info'"),
        ('layer { name: "data" type: "Input" top: "data" }', "input 'data' of B has no shape"),
        (layer("DummyData", "", "y").replace('bottom: ""', "dummy_data_param { shape { dim: 1 } }"), "B has no input"),
    ],
)
def test_inputs_that_do_not_match(network, other, message):
    with pytest.raises(GraphError, match=message):
        match_inputs(network(data(1, 3, 8, 6)), network(other))


def test_outputs_by_name_in_the_order_of_a(network):
    a = network(data(1, 3, 8, 6) + relu("data", "y") + relu("data", "x"))
    b = network(data(1, 3, 8, 6) + relu("data", "x") + relu("data", "y"))
    assert match_outputs(a, b) == ([Matched("y", "y"), Matched("x", "x")], [])


def test_outputs_of_other_names_by_position(network):
    a = network(data(1, 3, 8, 6) + relu("data", "x") + relu("data", "mine") + relu("data", "last"))
    b = network(data(1, 3, 8, 6) + relu("data", "yours") + relu("data", "end") + relu("data", "x"))
    pairs, warnings = match_outputs(a, b)
    assert pairs == [Matched("x", "x"), Matched("mine", "yours"), Matched("last", "end")]
    assert warnings == [
        "output 'mine' of A is compared with 'yours' of B, going by position",
        "output 'last' of A is compared with 'end' of B, going by position",
    ]


def test_outputs_that_do_not_match(network):
    a = network(data(1, 3, 8, 6) + relu("data", "x"))
    with pytest.raises(GraphError, match=r"A has 1 outputs \('x'\), B 2 \('x', 'y'\)"):
        match_outputs(a, network(data(1, 3, 8, 6) + relu("data", "x") + relu("data", "y")))
    with pytest.raises(GraphError, match=r"output 'x' is \(1, 3, 8, 6\) in A and \(1, 3, 4, 3\) in B"):
        match_outputs(a, network(data(1, 3, 8, 6) + pool("data", "x", 2)))


def test_scores_may_have_axes_of_size_one(network):
    product = layer("InnerProduct", "data", "y", "inner_product_param { num_output: 4 }")
    shape = "shape { dim: 0 dim: 4 dim: 1 dim: 1 }"
    a = network(data(1, 3, 8, 6) + product)
    b = network(
        data(1, 3, 8, 6) + product.replace('"y"', '"z"') + layer("Reshape", "z", "y", f"reshape_param {{ {shape} }}")
    )
    assert match_outputs(a, b)[0] == [Matched("y", "y")]


def test_layers_have_one_name_and_one_shape(network):
    a = network(data(1, 3, 8, 6) + pool("data", "p", 1) + relu("p", "p") + pool("p", "q", 2) + relu("q", "r"))
    b = network(data(1, 3, 8, 6) + pool("data", "q", 1) + pool("q", "p2", 2) + relu("p2", "r") + relu("data", "p"))
    assert match_layers(a, b) == [Matched("p", "p"), Matched("r", "r")]  # q is larger in B; data is fed to both
    assert makers(a, "p") == ["Pooling_p", "ReLU_p"]


def test_an_input_that_a_layer_overwrites_is_compared(network):
    a = network(data(1, 3, 8, 6) + relu("data", "data") + pool("data", "y", 2))
    assert match_layers(a, a) == [Matched("data", "data"), Matched("y", "y")]
    assert makers(a, "data") == ["ReLU_data"]
