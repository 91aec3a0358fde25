"""Weights go to layers by name; real Caffe copies the same."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import ShapeError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.build import build
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.read.weights import attach, load_weights
from deepmerge.formats.write import write_pair
from deepmerge.graph.shapes import infer_shapes

DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: [1, 3, 4, 4] } } }\n"
CONV = "convolution_param { num_output: 2 kernel_size: 1 }"
SHARED = "param { name: 'w' } param { name: 'b' } " + CONV


def layer(name: str, kind: str, more: str, bottom: str = "data") -> str:
    return f"layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{name}' {more} }}\n"


def array(*shape: int, start: float = 0) -> np.ndarray:
    return np.arange(start, start + np.prod(shape), dtype=np.float32).reshape(shape)


def conv(name: str = "conv", kind: str = "Convolution", phase: str = "", start: float = 0) -> StoredLayer:
    return StoredLayer(name, kind, [array(2, 3, 1, 1, start=start), array(2, start=start)], phase)


def attached(text: str, *stored: StoredLayer):
    graph = build("net", parse(DATA + text).values("layer"), "net.prototxt")
    attach(graph, infer_shapes(graph), list(stored))
    return graph


@pytest.mark.pitfall("row", 17)
def test_weights_go_by_name():
    graph = attached(
        layer("conv", "Convolution", CONV) + layer("relu", "ReLU", ""),
        StoredLayer("split", "Split"),
        conv(),
        StoredLayer("relu", "ReLU"),
    )
    assert [w.shape for w in graph.layer("conv").weights] == [(2, 3, 1, 1), (2,)]
    assert graph.layer("relu").weights == [] and graph.warnings == []


def test_legacy_shapes_of_four_axes():
    fc = StoredLayer("fc", "InnerProduct", [array(1, 1, 5, 48), array(1, 1, 1, 5)])
    graph = attached(layer("fc", "InnerProduct", "inner_product_param { num_output: 5 }"), fc)
    assert [w.shape for w in graph.layer("fc").weights] == [(5, 48), (5,)]
    assert fc.blobs[0].shape == (1, 1, 5, 48)


LEGACY = {
    "conv": [(2, 3, 1, 1), (1, 1, 1, 2)],
    "fc": [(1, 1, 5, 48), (1, 1, 1, 5)],
    "up": [(3, 2, 1, 1), (1, 1, 1, 2)],
}
UNKNOWN = (  # a Filter's top depends on what it is fed
    layer("some", "Filter", "bottom: 'which'")
    + layer("conv", "Convolution", CONV, "some")
    + layer("fc", "InnerProduct", "inner_product_param { num_output: 5 }", "some")
    + layer("up", "Deconvolution", CONV, "some")
)


def test_legacy_shapes_behind_a_blob_of_unknown_shape():
    """The layer's type says how many axes its blobs have; a layer of an unknown type keeps what is stored."""
    stored = [StoredLayer(name, blobs=[array(*shape) for shape in shapes]) for name, shapes in LEGACY.items()]
    stored.append(StoredLayer("some", blobs=[array(1, 1, 1, 3)]))
    graph = attached(UNKNOWN.replace("'which'", "'data'"), *stored)
    shapes = {one.name: [blob.shape for blob in one.weights] for one in graph.layers if one.weights}
    assert shapes == {
        "some": [(1, 1, 1, 3)],
        "conv": [(2, 3, 1, 1), (2,)],
        "fc": [(5, 48), (5,)],
        "up": [(3, 2, 1, 1), (2,)],
    }


def test_real_caffe_loads_legacy_blobs_behind_a_blob_of_unknown_shape_again(tmp_path, worker):
    """Written with `shape`, they have to have just the axes that Caffe expects."""
    which = "layer { name: 'which' type: 'Input' top: 'which' input_param { shape { dim: 1 } } }\n"
    (tmp_path / "net.prototxt").write_text(DATA + which + UNKNOWN)
    net = schema.message_class("NetParameter")()
    for name, shapes in LEGACY.items():
        one = net.layer.add(name=name)
        for shape in shapes:
            sizes = dict(zip(("num", "channels", "height", "width"), shape, strict=True))
            one.blobs.add(data=array(*shape).ravel(), **sizes)
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    graph = read_network(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    write_pair(graph, tmp_path / "same.prototxt", tmp_path / "same.caffemodel")
    with worker.load(tmp_path / "same.prototxt", tmp_path / "same.caffemodel") as session:
        params = session.params()
    for name in LEGACY:
        for ours, theirs in zip(graph.layer(name).weights, params[name], strict=True):
            assert ours.shape == theirs.shape and np.array_equal(ours, theirs)


@pytest.mark.parametrize(("stored", "hint"), [("conv_1", " (it has some for 'conv_1')"), ("other", "")])
def test_missing_weights(stored, hint):
    with pytest.raises(ShapeError) as caught:
        attached(layer("conv1", "Convolution", CONV), conv(stored))
    text = f"needs weights, and the caffemodel has none of that name{hint}; do the files belong together?"
    assert str(caught.value) == f"layer 'conv1' (Convolution) {text}"


@pytest.mark.pitfall("row", 18)
def test_weights_that_nobody_uses():
    graph = attached(layer("conv", "Convolution", CONV), conv(), *(conv(f"aux{i}") for i in range(7)))
    assert graph.warnings == [
        "the caffemodel also has weights for aux0, aux1, aux2, aux3, aux4 and 2 more, which the network does not use"
    ]


@pytest.mark.pitfall("row", 18)
def test_another_type_in_the_caffemodel():
    graph = attached(layer("conv", "Convolution", CONV), conv(kind="Deconvolution"))
    assert graph.warnings == [
        "layer 'conv': type 'Convolution' in the prototxt, which counts, but 'Deconvolution' in the caffemodel"
    ]


@pytest.mark.pitfall("row", 14)
def test_two_of_one_name():
    text = layer("conv", "Convolution", CONV)
    with pytest.raises(ShapeError) as caught:
        attached(text, conv(), conv(start=1))
    assert (
        str(caught.value)
        == "two layers have weights and the name 'conv'; as weights go by name, one would be lost: rename one, here and in the prototxt"
    )
    for twins in (
        (conv(phase="TEST", start=5), conv(phase="TRAIN")),
        (conv(phase="TRAIN"), conv(phase="TEST", start=5)),
    ):
        assert attached(text, *twins).layer("conv").weights[1].tolist() == [5, 6]


@pytest.mark.pitfall("row", 30)
def test_shared_weights_are_one_array():
    graph = attached(
        layer("a", "Convolution", SHARED) + layer("b", "Convolution", SHARED), conv("a"), conv("b", start=9)
    )
    a, b = (graph.layer(name).weights for name in "ab")
    assert (
        a[0] is b[0] and a[1] is b[1] and a[1].tolist() == [9, 10]
    )  # the last ones, as Caffe copies one after the other


@pytest.mark.pitfall("row", 30)
def test_shared_weights_may_be_stored_once():
    graph = attached(layer("a", "Convolution", SHARED) + layer("b", "Convolution", SHARED), conv("a"))
    assert graph.layer("a").weights[0] is graph.layer("b").weights[0]
    partly = SHARED.replace("name: 'b'", "lr_mult: 2")
    with pytest.raises(ShapeError, match=r"layer 'b' \(Convolution\) needs weights"):
        attached(layer("a", "Convolution", partly) + layer("b", "Convolution", partly), conv("a"))


def test_one_of_two_is_shared():
    partly = SHARED.replace("name: 'b'", "lr_mult: 2")
    graph = attached(
        layer("a", "Convolution", partly) + layer("b", "Convolution", partly), conv("a"), conv("b", start=9)
    )
    a, b = (graph.layer(name).weights for name in "ab")
    assert a[0] is b[0] and a[1].tolist() == [0, 1] and b[1].tolist() == [9, 10]


@pytest.mark.pitfall("row", 30)
def test_sharing_as_worker_does_it(tmp_path, worker):
    text = DATA + layer("a", "Convolution", SHARED) + layer("b", "Convolution", SHARED)
    (tmp_path / "net.prototxt").write_text(text)
    layers = [
        {"name": s.name, "blobs": [{"shape": {"dim": w.shape}, "data": w.ravel()} for w in s.blobs]}
        for s in (conv("a"), conv("b", start=9))
    ]
    (tmp_path / "net.caffemodel").write_bytes(schema.message_class("NetParameter")(layer=layers).SerializeToString())
    graph = read_network(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel") as session:
        params = session.params()
    for name in "ab":
        assert all(np.array_equal(w, p) for w, p in zip(graph.layer(name).weights, params[name], strict=True))


def test_layers_of_unknown_types_take_what_is_stored():
    graph = attached(layer("norm", "Other", "norm_param { }"), StoredLayer("norm", "Other", [array(3)]))
    assert graph.layer("norm").weights[0].shape == (3,)


def test_a_blob_that_the_file_leaves_out_is_the_one_that_it_shares():
    text = layer("a", "Convolution", SHARED) + layer("b", "Convolution", SHARED)
    b = StoredLayer("b", "Convolution", [None, array(2, start=9)])
    graph = attached(text, conv("a"), b)
    assert graph.layer("b").weights[0] is graph.layer("a").weights[0]
    with pytest.raises(ShapeError, match=r"layer 'b' \(Convolution\) has no weight blob 0 in the file") as caught:
        attached(text.replace("name: 'w'", "lr_mult: 2"), conv("a"), b)
    assert caught.value.layer == "b"


def test_weights_of_other_shapes_are_refused_or_skipped():
    graph = attached(layer("a", "Convolution", CONV) + layer("b", "Convolution", CONV), conv("a"), conv("b"))
    before = {one.name: one.weights for one in graph.layers}
    new = {"a": [array(2, 3, 1, 1, start=5), array(2)], "b": [array(1, 1)], "none": [], "else": [array(3)]}
    assert load_weights(graph, new, misfits="skip") == [graph.layer("b")]
    assert graph.layer("a").weights[0] is new["a"][0]
    assert all(x is y for x, y in zip(before["b"], graph.layer("b").weights, strict=True))
    with pytest.raises(ShapeError, match=r"layer 'b' \(Convolution\): weights: expected 2 blobs") as caught:
        load_weights(graph, new)
    assert caught.value.layer == "b"
