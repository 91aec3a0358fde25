"""Sizes of inputs that the user gives: where they go, and what is refused. Real Caffe judges the shapes."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import GraphError, ReadError, ShapeError
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from tests.helpers import conv, layer, shapes

NET = conv("conv", "data", 2, "kernel_size: 3") + layer("norm", "LRN", "conv")
FC = layer("fc", "InnerProduct", "norm", "num_output: 5")
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
STATED = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 7 dim: 3 dim: 16 dim: 16 } } }\n'


DATA = ("Data", "HDF5Data", "ImageData", "Python", "MemoryData", "WindowData", "DenseImageData")


@pytest.mark.parametrize("kind", DATA)
def test_a_data_layer_of_any_kind_gets_the_size(read, kind):
    data = f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" }}\n'
    graph = read(data + NET + FC + LOSS, data=(2, 3, 9, 8))
    assert [(x.name, x.type) for x in graph.layers][:2] == [("d", "Input"), ("conv", "Convolution")]
    assert shapes(graph)["norm"] == (2, 2, 7, 6) and graph.given_inputs == {"data": (2, 3, 9, 8)}
    assert [str(m.value("type")) for m in graph.train_layers] == [kind, "SoftmaxWithLoss"]


@pytest.mark.parametrize(
    ("front", "batch"),
    {
        STATED: 7,
        'input: "data" input_dim: 7 input_dim: 3 input_dim: 16 input_dim: 16\n': 7,
        'input: "data" input_shape { dim: 7 dim: 3 dim: 0 dim: -1 }\n': 7,
        STATED.replace("dim: 7", "dim: -1"): 1,
        STATED.replace("dim: 7", "dim: 0"): 1,
        'layer { name: "in" type: "Input" top: "data" }\n': 1,
        'input: "data"\n': 1,
        'input: "data" input_dim: 7\n': 1,
        "": 1,
    }.items(),
)
def test_without_a_batch_the_files_is_kept(read, front, batch, tmp_path, worker):
    graph = read(front + NET, data=(3, 9, 8))
    assert graph.given_inputs == {"data": (batch, 3, 9, 8)} and not graph.train_layers
    assert shapes(graph)["norm"] == (batch, 2, 7, 6)
    write_pair(graph, tmp_path / "deploy.prototxt", None)
    with worker.load(tmp_path / "deploy.prototxt") as session:
        assert session.inputs == {"data": (batch, 3, 9, 8)}
        assert session.forward({"data": np.ones((batch, 3, 9, 8))})["norm"].shape == (batch, 2, 7, 6)


def test_sizes_of_other_axes_are_taken_as_they_are(read):
    assert shapes(read(STATED + layer("r", "ReLU", "data"), data=(5, 4)))["r"] == (5, 4)
    assert shapes(read(layer("r", "ReLU", "data"), data=(5,)))["r"] == (5,)


def test_one_of_several_inputs(read):
    front = 'layer { name: "in" type: "Input" top: "data" top: "more" input_param { shape { dim: 2 dim: 3 } } }\n'
    both = layer("c", "Concat", "data more", "axis: 0")
    assert shapes(read(front + both, more=(4, 3)))["c"] == (6, 3)
    with pytest.raises(ReadError, match=r"input 'data' has no size; give it as well: --input data=N,…"):
        read('layer { name: "in" type: "Input" top: "data" top: "more" }\n' + both, more=(4, 3))


def test_an_input_that_nothing_makes_beside_a_layer_of_its_name(read):
    graph = read(layer("data", "ReLU", "data", tops="r"), data=(2, 3))
    assert [(x.name, x.type) for x in graph.layers] == [("data_2", "Input"), ("data", "ReLU")]


def test_a_name_that_is_no_input_is_refused(read):
    with pytest.raises(ReadError, match=r"net\.prototxt: has no input 'dat'; did you mean 'data'\?"):
        read(STATED + NET, dat=(3, 8, 8))
    with pytest.raises(ReadError, match=r"has no input 'conv'; there is only data"):
        read(STATED + NET, conv=(3, 8, 8))
    with pytest.raises(ReadError, match=r"has no input 'label'; there is only data"):
        read('layer { name: "d" type: "Data" top: "data" top: "label" }' + NET + FC + LOSS, data=(3, 8, 8), label=(1,))


@pytest.mark.parametrize("size", [(), (0, 1), (-1, 3), (1.5, 2), "3,8", 5, (True, 2), (2**31,), (1,) * 33])
def test_what_is_no_size_is_refused(read, size):
    with pytest.raises(ReadError, match="input 'data': .* is not a size"):
        read(STATED + NET, data=size)


def test_numbers_of_numpy_are_sizes(read):
    assert read(STATED + NET, data=np.array([3, 8, 8])).given_inputs == {"data": (7, 3, 8, 8)}


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ('layer { name: "d" type: "Data" top: "my data" }' + NET.replace('"data"', '"my data"'), "--input 'my data'=1,3,H,W"),
        ('layer { name: "d" type: "Data" top: "data" transform_param { mean_value: [1, 2] } }' + NET, "--input data=1,2,H,W"),
        (NET, "--input data=1,3,H,W"),
        ('input: "data"\n' + NET, "--input data=1,3,H,W"),
        ('input: "data" input_dim: [2, 3, -1, 0]\n' + NET, "--input data=2,3,H,W"),
        (STATED.replace("dim: 7", "dim: -1") + NET, "--input data=N,3,16,16"),
    ],
)  # fmt: skip
def test_errors_end_with_the_option_to_give(read, text, option):
    with pytest.raises((ReadError, ShapeError, GraphError)) as caught:
        read(text)
    assert str(caught.value).endswith(f"give its size: {option}")


def test_weights_of_another_size_do_not_fit(read, tmp_path):
    from deepmerge.formats.write import write_caffemodel
    from tests.helpers import fill

    graph = read(STATED + NET + FC)
    fill(graph, 3)
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    with pytest.raises(ShapeError, match=r"layer 'fc' \(InnerProduct\): weight blob 0: expected \(5, 98\)"):
        read_network(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", {"data": (3, 9, 9)})
