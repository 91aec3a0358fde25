"""Graph → caffemodel: real Caffe loads it, and what it loads is what the graph holds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write import write_caffemodel, write_pair
from deepmerge.formats.write.layers import network_tree
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.graph import Graph, Layer
from tests.protobuf_judge import differences


def holding(*weights: np.ndarray) -> Graph:
    return Graph("net", [Layer("l", "Fork", weights=list(weights))])


def written(folder, graph: Graph) -> bytes:
    path = folder / "net.caffemodel"
    size = write_caffemodel(graph, path)
    data = path.read_bytes()
    assert size == len(data)
    return data


def mini(models) -> Graph:
    folder = models / "inception_mini"
    return read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")


def test_real_caffe_loads_what_is_written(tmp_path, models, worker):
    graph = mini(models)
    write_pair(graph, tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel") as session:
        params = session.params()
        session.save(tmp_path / "saved.caffemodel")
    assert list(params) == [layer.name for layer in graph.layers if layer.weights]
    for name, blobs in params.items():
        assert all(np.array_equal(a, b) for a, b in zip(graph.layer(name).weights, blobs, strict=True))
    again = read_network(tmp_path / "net.prototxt", tmp_path / "saved.caffemodel")
    assert again.warnings == []
    for layer in graph.layers:
        assert all(np.array_equal(a, b) for a, b in zip(layer.weights, again.layer(layer.name).weights, strict=True))


def test_odd_shapes_in_real_caffe(tmp_path, worker):
    """A PReLU with one slope has a blob of no axes, a Parameter any shape, a dilated convolution five axes."""
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 2, 4, 4, 4] } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: [1, 2, 3] } }
    layer { name: "flat" type: "Flatten" bottom: "c" top: "flat" }
    layer { name: "p" type: "PReLU" bottom: "flat" top: "p" prelu_param { channel_shared: true } }
    layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: [2, 1, 3] } } }
    layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" inner_product_param { num_output: 2 bias_term: false } }"""
    (tmp_path / "net.prototxt").write_text(text)
    graph = read_network(tmp_path / "net.prototxt")
    rng = np.random.default_rng(3)
    for name, shapes in {"c": [(3, 2, 1, 2, 3), (3,)], "p": [()], "w": [(2, 1, 3)], "f": [(2, 3 * 4 * 3 * 2)]}.items():
        graph.layer(name).weights = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    write_pair(graph, tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel") as session:
        for name, blobs in session.params().items():
            for ours, theirs in zip(graph.layer(name).weights, blobs, strict=True):
                assert ours.shape == theirs.shape and np.array_equal(ours, theirs)


def test_the_message_is_the_one_that_the_text_means(tmp_path, models, caffe_python):
    """Without weights, the file and the prototxt are one message."""
    cases = []
    for name in ("googlenet/deploy.prototxt", "resnet50/deploy.prototxt"):
        graph = read_network(models / name)
        cases.append(("NetParameter", format_tree(network_tree(graph)), written(tmp_path, graph)))
    assert differences(caffe_python, cases) == [""] * len(cases)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        arrays.arrays(
            np.float32,
            arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3),
            elements=st.floats(width=32),
        ),
        max_size=3,
    )
)
def test_arrays_survive(tmp_path_factory, weights):
    path = tmp_path_factory.getbasetemp() / "arrays.caffemodel"
    write_caffemodel(holding(*weights), path)
    (layer,) = read_caffemodel(path)
    assert (layer.name, layer.type, len(layer.blobs)) == ("l", "Fork", len(weights))
    for before, after in zip(weights, layer.blobs, strict=True):
        assert before.shape == after.shape and before.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T, np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2, 1:], np.float32([1, 2])[::-1],
        np.arange(6, dtype=">f4"), np.arange(6, dtype=np.float64), np.broadcast_to(np.float32(3), (2, 2)), np.float32(7).reshape(()),
    ],
)  # fmt: skip
def test_arrays_however_they_lie_in_memory(tmp_path, array):
    message = schema.message_class("NetParameter").FromString(written(tmp_path, holding(array)))
    (blob,) = message.layer[0].blobs
    assert tuple(blob.shape.dim) == array.shape and list(blob.data) == array.ravel().tolist()


def test_blobs_of_an_unknown_layer_fit_as_they_did_in_an_old_file(tmp_path, worker):
    """Real Caffe, which takes weights by name, has an InnerProduct where deepmerge has a type that it does not know."""
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 7 } } }
    layer { name: "l" type: "InnerProduct" bottom: "x" top: "l" inner_product_param { num_output: 5 } }"""
    (tmp_path / "net.prototxt").write_text(text)
    weight, bias = np.arange(35, dtype=np.float32).reshape(1, 1, 5, 7), np.ones((1, 1, 1, 5), np.float32)
    written(tmp_path, holding(weight, bias))
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel") as session:
        found = session.params()["l"]
    assert [blob.shape for blob in found] == [(5, 7), (5,)]
    assert np.array_equal(found[0], weight[0, 0]) and np.array_equal(found[1], bias[0, 0, 0])


def test_chosen_layers_alone(tmp_path, models):
    graph = mini(models)
    chosen = [layer for layer in graph.layers if layer.weights][2:4]
    write_caffemodel(graph, tmp_path / "some.caffemodel", chosen)
    assert [layer.name for layer in read_caffemodel(tmp_path / "some.caffemodel")] == [layer.name for layer in chosen]


def test_what_a_fork_has_stays_in_the_prototxt(tmp_path):
    text = 'layer { name: "x" type: "Fork" top: "x" my_param { a: 1 } phase: TEST lrn_param { k: 2 my: 3 } }'
    (tmp_path / "net.prototxt").write_text(
        text.replace('top: "x"', 'top: "x" bottom: "d"') + 'input: "d" input_shape { dim: 1 }'
    )
    graph = read_network(tmp_path / "net.prototxt")
    graph.layer("x").weights = [np.ones(2, np.float32)]
    message = schema.message_class("NetParameter").FromString(written(tmp_path, graph))
    assert message.layer[1].lrn_param.k == 2 and list(message.layer[1].blobs[0].data) == [1, 1]


@pytest.mark.pitfall("row", 8)
def test_writing_copies_nothing(tmp_path):
    graph = holding(np.zeros((500, 1000), np.float32))
    written(tmp_path, graph)
    tracemalloc.start()
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000  # the file's buffer is 1 MiB of it


def test_no_place_to_write(tmp_path):
    with pytest.raises(OSError):
        write_caffemodel(holding(), tmp_path / "none" / "net.caffemodel")
