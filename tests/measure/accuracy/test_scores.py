"""Which blob has the scores, and running networks for them in any batches."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.engines.ort import OnnxSession
from deepmerge.errors import GraphError, ReadError
from deepmerge.formats.onnx import to_onnx
from deepmerge.measure.accuracy.scores import Runner, check_same_input, choose_output
from tests.helpers import conv, inputs, layer, network

DATA = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
FC = layer("fc", "InnerProduct", "data", "num_output: 6")
MAP = conv("map", "data", 6)


@pytest.mark.parametrize(
    ("shapes", "asked", "wanted"),
    [
        ({"a": (1, 5)}, None, "a"),
        ({"a": (1, 5, 1, 1), "b": (1, 5, 2, 1)}, None, "a"),
        ({"a": (1, 5), "b": (1, 1)}, None, "a"),
        ({"a": (1, 5), "b": (1, 5)}, "b", "b"),
        ({"a": None}, None, "a"),
    ],
)
def test_the_output(shapes, asked, wanted):
    assert choose_output(shapes, tuple(shapes), asked) == wanted


@pytest.mark.parametrize(
    ("shapes", "asked", "message"),
    [
        (
            {"a": (1, 5), "b": (1, 7)},
            None,
            "several outputs have a score for each class: 'a', 'b'; choose one with --output",
        ),
        ({"a": (1, 5)}, "c", "--output: the network has no blob 'c'; its outputs are 'a'"),
        (
            {"a": (1, 21, 50, 60)},
            None,
            "output 'a', 1×21×50×60, has scores at 50×60 places, as a fully convolutional network has; one score",
        ),
        ({"a": (1, 21, 5, 6), "b": (2,)}, None, "is needed, nor has any other of 'a', 'b'"),
        ({"a": (1, 1)}, None, "output 'a', 1×1, has no score for each of two classes or more"),
        ({"a": (8,), "b": (1, 4)}, "a", "output 'a', 8, has no score"),
        ({}, None, "the network has no output"),
    ],
)
def test_no_output(shapes, asked, message):
    with pytest.raises(GraphError) as caught:
        choose_output(shapes, tuple(shapes), asked)
    assert message in str(caught.value)


def test_graphs_sessions_and_functions_give_the_same(tmp_path):
    graph = network(tmp_path, inputs((1, 3, 4, 4)) + FC)
    with engine("ort").load(graph) as session, Runner(graph) as one, Runner(session) as other:
        scores = one(DATA)
        assert scores.shape == (5, 6) and one.output == other.output == "fc" and one.classes == 6
        np.testing.assert_array_equal(other(DATA), scores)
        with Runner(lambda data: session.forward({"data": data})["fc"]) as function:
            np.testing.assert_array_equal(function(DATA), scores)
        other.__exit__(None, None, None)
        session.forward({"data": DATA})  # still open: it is not the Runner's


def test_a_session_of_an_onnx_file_chooses_as_its_graph_does(tmp_path):
    graph = network(tmp_path, inputs((1, 3, 4, 4)) + FC + MAP)
    with OnnxSession(to_onnx(graph), graph) as session, Runner(graph) as one, Runner(session) as other:
        assert session.outputs == ("fc", "map") and one.output == other.output == "fc"
        np.testing.assert_array_equal(other(DATA), one(DATA))
    both = network(tmp_path, inputs((1, 3, 4, 4)) + FC + FC.replace("fc", "more"))
    with (
        OnnxSession(to_onnx(both), both) as session,
        pytest.raises(GraphError, match="several outputs have a score for each class: 'fc', 'more'"),
    ):
        Runner(session)


def test_a_network_of_a_fixed_batch(tmp_path):
    fixed = layer("flat", "Reshape", "data", "shape { dim: 2 dim: 48 }") + layer(
        "fc", "InnerProduct", "flat", "num_output: 6"
    )
    free = layer("flat", "Reshape", "data", "shape { dim: 0 dim: 48 }") + layer(
        "fc", "InnerProduct", "flat", "num_output: 6"
    )
    graphs = [network(tmp_path, inputs((2, 3, 4, 4)) + text) for text in (fixed, free)]
    with Runner(graphs[0]) as one, Runner(graphs[1]) as other:
        np.testing.assert_allclose(one(DATA), other(DATA), rtol=1e-5)


def test_answers_that_are_no_scores(tmp_path):
    with Runner(network(tmp_path, inputs((1, 3, 4, 4)) + FC + MAP), "fc") as one:
        assert one(DATA).shape == (5, 6)
    with (
        pytest.raises(GraphError, match="16×|4×4 places"),
        Runner(network(tmp_path, inputs((1, 3, 4, 4)) + MAP)) as one,
    ):
        one(DATA)
    for answer in (np.zeros(5), np.zeros((5, 1)), np.zeros((4, 3)), np.zeros((5, 3, 2))):
        with pytest.raises(GraphError), Runner(lambda data, answer=answer: answer) as one:
            one(DATA)
    with (
        engine("ort").load(network(tmp_path, inputs((1, 3, 4, 4)) + FC + MAP)) as session,
        pytest.raises(GraphError, match="several outputs"),
    ):
        Runner(session)


def test_networks_of_other_inputs(tmp_path):
    one, other = (network(tmp_path, inputs((1, 3, side, 4)) + FC) for side in (4, 5))
    check_same_input(one, one)
    with pytest.raises(ReadError, match="one takes images of 3×4×4, the other of 3×5×4"):
        check_same_input(one, other)


def test_an_input_without_a_shape(tmp_path):
    one = network(tmp_path, inputs((1, 3, 4, 4)) + FC)
    other = network(tmp_path, 'layer { name: "data" type: "Input" top: "data" }' + FC, None)
    with pytest.raises(ReadError, match="input 'data' has no shape; give it: --input data=N,"):
        check_same_input(one, other)
