"""Blobs joined by name, as real Caffe joins them."""

from __future__ import annotations

import pytest

from deepmerge.engines.caffe import CaffeEngine
from deepmerge.errors import EngineError, GraphError
from deepmerge.formats.read.build import build
from deepmerge.formats.read.prototxt import parse
from deepmerge.graph.check import require

DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: [2, 3] } } }\n"


def layer(name: str, kind: str, bottoms: str, tops: str, more: str = "") -> str:
    ends = [f"bottom: '{b}'" for b in bottoms.split()] + [f"top: '{t}'" for t in tops.split()]
    return f"layer {{ name: '{name}' type: '{kind}' {' '.join(ends)} {more} }}\n"


def graph_of(*texts: str):
    graph = build("net", parse(DATA + "".join(texts)).values("layer"), "net.prototxt")
    require(graph)
    return graph


@pytest.mark.pitfall("row", 19)
def test_in_place_layers_have_blobs_of_their_own():
    chain = [
        layer("a", "TanH", "data", "a"),
        layer("relu", "ReLU", "a", "a"),
        layer("drop", "Dropout", "a", "a"),
        layer("b", "TanH", "a", "b"),
    ]
    graph = graph_of(*chain)
    a, relu, drop, b = (graph.layer(name) for name in ("a", "relu", "drop", "b"))
    assert [blob.name for blob in graph.blobs] == ["data", "a", "a", "a", "b"]
    assert (relu.bottom, drop.bottom, b.bottom) == (a.top, relu.top, drop.top)
    assert a.top is not relu.top and a.top.consumers == [relu] and graph.outputs == [b.top]


@pytest.mark.pitfall("row", 19)
def test_an_output_may_be_in_place():
    graph = graph_of(layer("a", "TanH", "data", "a"), layer("relu", "ReLU", "a", "a"))
    assert graph.outputs == [graph.layer("relu").top]


@pytest.mark.pitfall("row", 19)
def test_readers_behind_an_in_place_layer_read_what_it_made():
    graph = graph_of(
        layer("relu", "ReLU", "data", "data"), layer("a", "TanH", "data", "a"), layer("b", "TanH", "data", "b")
    )
    assert [c.name for c in graph.layer("relu").top.consumers] == ["a", "b"]


def test_splits_in_a_file_are_layers():
    split = layer("split", "Split", "data", "one two")
    graph = graph_of(split, layer("a", "ReLU", "one", "one"), layer("sum", "Eltwise", "one two", "sum"))
    assert [b.name for b in graph.layer("sum").bottoms] == ["one", "two"]


@pytest.mark.pitfall("row", 23)
def test_the_second_top_of_a_max_pooling_is_kept(tmp_path):
    image = DATA.replace("[2, 3]", "[1, 2, 4, 4]")
    pool = layer("pool", "Pooling", "data", "pool mask", "pooling_param { kernel_size: 2 stride: 2 }")
    graph = build("net", parse(image + pool).values("layer"), "net.prototxt")
    assert [b.name for b in graph.outputs] == ["pool", "mask"]


def test_what_a_layer_holds():
    text = "param { name: 'w' lr_mult: 2 } include { phase: TEST } phase: TEST loss_weight: 1 relu_param { negative_slope: 0.5 } own { a: 1 }"
    relu = graph_of(layer("relu", "ReLU", "data", "y", text)).layer("relu")
    assert [f.name for f in relu.tree] == ["loss_weight", "relu_param", "own"]
    assert relu.shared_names == ["w"] and relu.params is relu.read_params and relu.params.negative_slope == 0.5
    assert relu.tree.line == 2


BROKEN = {
    "unmade": (layer("a", "TanH", "dat", "a"), "2:1: layer 'a' (TanH) reads 'dat', which no layer before it makes in the TEST phase; did you mean 'data'?"),
    "order": (layer("a", "TanH", "xyz", "a") + layer("xyz", "TanH", "data", "xyz"),
              "2:1: layer 'a' (TanH) reads 'xyz', which no layer before it makes in the TEST phase"),
    "twice": (layer("a", "TanH", "data", "a") + layer("b", "TanH", "data", "a"), "3:1: layer 'b' (TanH) makes 'a', as layer 'a' does; give its top another name"),
    "crossed": (layer("a", "Split", "data", "b data"), "2:1: layer 'a' (Split) makes 'data', as layer 'data' does; give its top another name"),
    "same tops": (layer("a", "Split", "data", "b b"), "2:1: layer 'a' (Split) makes 'b' twice; give each top its own name"),
    "read before": (layer("a", "TanH", "data", "a") + layer("b", "TanH", "a", "b") + layer("c", "ReLU", "a", "a"),
                    "4:1: layer 'c' (ReLU) overwrites 'a' in place, but 'b' reads it too; give its top another name"),
    "read itself": (layer("a", "TanH", "data", "a") + layer("b", "Eltwise", "a a", "a"),
                    "3:1: layer 'b' (Eltwise) overwrites 'a' in place, but 'b' reads it too; give its top another name"),
    "flags": (layer("a", "Eltwise", "data data", "a", "propagate_down: true"), "2:1: layer 'a' (Eltwise) has 1 propagate_down for 2 bottoms; give one for each, or none"),
}  # fmt: skip


OVERWRITTEN = "read before", "read itself"
CASES = [
    pytest.param(*BROKEN[name], id=name, marks=pytest.mark.pitfall("row", 19) if name in OVERWRITTEN else ())
    for name in BROKEN
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_refusals(text, message):
    with pytest.raises(GraphError) as caught:
        graph_of(text)
    assert str(caught.value) == f"net.prototxt:{message}"


@pytest.mark.parametrize(
    "case", ["order", "twice", "same tops", pytest.param("read before", marks=pytest.mark.pitfall("row", 19))]
)
def test_real_caffe_refuses_them_too(tmp_path, caffe_python, case):
    path = tmp_path / "net.prototxt"
    path.write_text(DATA + BROKEN[case][0])
    with pytest.raises(EngineError, match="Unknown bottom blob|produced by multiple sources"):
        CaffeEngine(caffe_python).load_files(path)


@pytest.mark.pitfall("row", 14)
def test_two_layers_of_one_name():
    """Caffe takes them, but one's weights would be lost: they go by name."""
    with pytest.raises(GraphError) as caught:
        graph_of(layer("a", "TanH", "data", "a"), layer("a", "TanH", "a", "b"))
    assert (
        str(caught.value)
        == "net.prototxt:3:1: layer 'a' (TanH) has the name of a layer before it; weights go by name, so rename one"
    )


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("Correlation", ""),
        ("convolution", "; did you mean 'Convolution'?"),
        ("AnotherOne", ""),
        ("ROIPooling", ""),
        ("Batchnorm", "; did you mean 'BatchNorm'?"),
    ],
)
def test_unknown_types_are_passed_through(kind, hint):
    graph = build("net", parse(DATA + layer("x", kind, "data", "x", "my_param { a: 1 }")).values("layer"), "x")
    assert graph.layer("x").params is None
    assert graph.warnings == [f"layer 'x' has the unknown type {kind!r}, and is passed through as it is{hint}"]
