"""Styles of deploy.prototxt (PITFALLS row 33). Real Caffe loads what is written and computes the same."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from deepmerge.cli.convert import convert as command
from deepmerge.errors import EmitError
from deepmerge.formats import STYLES
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.write import write_caffemodel, write_pair
from deepmerge.formats.write.style import styled
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Message
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.helpers import apart, conv, feeds, inputs, layer, network, relu

EVERY = [style for count in range(len(STYLES) + 1) for style in itertools.combinations(STYLES, count)]

# In-place layers over each other; two tops, one called as another layer; a top called as a layer far behind; two inputs
NET = (
    inputs((2, 6, 8, 5), (2, 3, 8, 5))
    + conv("conv", "data", 8, "kernel_h: 3 kernel_w: 1 pad_h: 1 bias_term: false", top="maps")
    + layer("norm", "BatchNorm", "maps", tops="maps")
    + layer("scale", "Scale", "maps", "bias_term: true", tops="maps")
    + relu("maps", "relu")
    + layer("cut", "Slice", "maps", "axis: 1 slice_point: 5", tops="side last")
    + layer("side", "Convolution", "last", "num_output: 3 kernel_size: 1", tops="other")
    + relu("other", "other/relu")
    + layer("last", "Eltwise", "other data1", tops="sum")
    + layer("drop", "Dropout", "sum", tops="sum")
    + layer("head", "InnerProduct", "sum", "num_output: 4", tops="score")
    + layer("prob", "Softmax", "score", tops="score")
)


def layers_of(tree: Message) -> list[tuple[str, str]]:
    return [(str(m.value("name")), str(m.value("type"))) for m in tree.values("layer")]


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, NET)


def test_the_commands_choices():
    (option,) = (p for p in command.params if p.name == "style")
    assert option.type.choices == STYLES


@pytest.mark.pitfall("row", 33)
@pytest.mark.parametrize("style", EVERY, ids=["+".join(style) or "none" for style in EVERY])
def test_the_same_layers_in_both_files(graph, tmp_path, style):
    write_pair(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel", style)
    tree, stored = read_prototxt(tmp_path / "a.prototxt"), read_caffemodel(tmp_path / "a.caffemodel")
    assert layers_of(tree) == [(s.name, s.type) for s in stored]
    assert ("input" in tree) == ("legacy-input" in style) != any(kind == "Input" for _, kind in layers_of(tree))
    again = read_network(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    assert [x.type for x in again.layers] == [x.type for x in graph.layers]
    assert {b.name: infer_shapes(again)[b] for b in again.inputs} == {"data": (2, 6, 8, 5), "data1": (2, 3, 8, 5)}


@pytest.mark.pitfall("row", 33)
def test_every_top_is_called_as_its_layer(graph, tmp_path):
    write_pair(graph, tmp_path / "a.prototxt", None, ["distinct-tops"])
    seen: list[str] = []
    for one in read_prototxt(tmp_path / "a.prototxt").values("layer"):
        tops = [str(top) for top in one.values("top")]
        assert tops == [str(one.value("name"))] or len(tops) == 2
        assert not set(tops) & set(one.values("bottom"))
        seen += tops
    assert len(seen) == len(set(seen))
    assert [b.name for b in graph.blobs][:4] == ["data", "data1", "maps", "maps"]  # the graph itself is as it was


def test_tops_of_one_layer_are_no_other_layers_names(graph):
    assert [top.name for top in styled(graph, ["distinct-tops"]).layer("cut").tops] == ["side_2", "last_2"]


def test_an_input_keeps_its_tops_name(tmp_path):
    text = 'name: "n" layer { name: "%s" type: "Input" top: "data" input_param { shape { dim: [1, 2] } } }' + layer(
        "x", "ReLU", "data"
    )
    made = styled(network(tmp_path, text % "input"), ["distinct-tops"])
    assert [(x.name, x.top.name) for x in made.layers] == [("data", "data"), ("x", "x")]
    taken = styled(network(tmp_path, text % "input" + layer("data", "TanH", "x", tops="y")), ["distinct-tops"])
    assert [(x.name, x.top.name) for x in taken.layers] == [("input", "input"), ("x", "x"), ("data", "data")]


def test_legacy_fields(graph, tmp_path):
    write_pair(graph, tmp_path / "a.prototxt", None, ["legacy-input"])
    lines = (tmp_path / "a.prototxt").read_text().splitlines()
    dims = [["input_shape {", *(f"  dim: {n}" for n in shape), "}"] for shape in ((2, 6, 8, 5), (2, 3, 8, 5))]
    assert lines[:16] == ['name: "net"', 'input: "data"', *dims[0], 'input: "data1"', *dims[1], "layer {"]


def test_one_shape_for_all_inputs(tmp_path):
    text = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: [2, 3] } } }' + layer(
        "x", "Eltwise", "a b"
    )
    write_pair(network(tmp_path, text), tmp_path / "a.prototxt", None, ["legacy-input"])
    again = read_network(tmp_path / "a.prototxt")
    assert [(b.name, infer_shapes(again)[b]) for b in again.inputs] == [("a", (2, 3)), ("b", (2, 3))]


def test_an_input_without_a_shape(tmp_path):
    graph = network(tmp_path, inputs((1, 2)))
    graph.layers[0].params = type(graph.layers[0].params)()
    wanted = r"layer 'input' \(Input\) has no shape, which --style legacy-input needs; give it: --input data=N,"
    with pytest.raises(EmitError, match=wanted):
        write_pair(graph, tmp_path / "a.prototxt", None, ["legacy-input"])


@pytest.mark.pitfall("row", 33)
def test_real_caffe_computes_the_same(graph, tmp_path, worker):
    values, outputs = feeds(graph), []
    for number, style in enumerate(EVERY):
        pair = tmp_path / f"{number}.prototxt", tmp_path / f"{number}.caffemodel"
        write_pair(graph, *pair, style)
        with worker.load(*pair) as session:
            outputs.append({str(found.shape): found for found in session.forward(values).values()})
    assert all(apart(outputs[0], other) == 0 for other in outputs[1:])


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "alexnet"])
def test_real_networks(models, tmp_path, name):
    graph = read_network(models / name / "deploy.prototxt")
    write_pair(graph, tmp_path / "a.prototxt", None, STYLES)
    again = read_network(tmp_path / "a.prototxt")
    assert [(x.name, x.type) for x in again.layers if x.type != "Input"] == [
        (x.name, x.type) for x in graph.layers if x.type != "Input"
    ]
    assert list(infer_shapes(again).values()) == list(infer_shapes(graph).values())
    assert all(x.top.name == x.name for x in again.layers if x.type != "Input" and len(x.tops) == 1)


def test_a_conversion_in_style(models, tmp_path):
    """deploy.prototxt and the weights of OUT and of each step; train_val keeps its names, as its losses read them."""
    mini = models / "inception_mini"
    pair = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    plain = convert(Job(*pair, tmp_path / "plain", Wishes(steps="conv1")))
    told = convert(Job(*pair, tmp_path / "out", Wishes(steps="conv1"), settings=Settings(style=STYLES)))
    assert told == plain | {"style": list(STYLES)}
    step = next((tmp_path / "out/steps").iterdir())
    for folder in (tmp_path / "out", step):
        tree = read_prototxt(folder / "deploy.prototxt")
        assert "input" in tree and all(m.values("top") == [m.value("name")] for m in tree.values("layer"))
        assert layers_of(tree) == [(s.name, s.type) for s in read_caffemodel(folder / "weights.caffemodel")]
    (new,) = read_caffemodel(step / "new_layers.caffemodel")
    assert new.name == "conv1/3x3"
    assert (tmp_path / "plain/train_val.prototxt").read_bytes() == (tmp_path / "out/train_val.prototxt").read_bytes()


def test_the_plain_style_is_the_graph_itself(graph, tmp_path):
    assert styled(graph, ()) is graph and styled(graph, ["legacy-input"]) is graph
    write_pair(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    write_caffemodel(graph, tmp_path / "b.caffemodel")
    assert (tmp_path / "a.caffemodel").read_bytes() == (tmp_path / "b.caffemodel").read_bytes()


DEPTHWISE = """layer { name: "%s" type: "%s" bottom: "data" top: "d"
  convolution_param { num_output: 3 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 dilation: 2 %s } }
"""


@pytest.mark.parametrize(("kind", "group"), [("DepthwiseConvolution", ""), ("ConvolutionDepthwise", "group: 1")])
def test_depthwise_layers_as_group(tmp_path, worker, kind, group):
    """What is written runs in real Caffe, which has no such type, as the same network with group does."""
    shapes, pairs = inputs((2, 3, 9, 7)), []
    for name, text in (("a", DEPTHWISE % ("d", kind, group)), ("b", DEPTHWISE % ("d", "Convolution", "group: 3"))):
        pairs.append((tmp_path / f"{name}.prototxt", tmp_path / f"{name}.caffemodel"))
        write_pair(network(tmp_path, shapes + text), *pairs[-1], ["group-depthwise"])
    assert layers_of(read_prototxt(pairs[0][0])) == [("input", "Input"), ("d", "Convolution")]
    values, outputs = feeds(read_network(pairs[0][0])), []
    for pair in pairs:
        with worker.load(*pair) as session:
            outputs.append(session.forward(values))
    assert apart(*outputs) == 0


def test_windows_by_axis(tmp_path):
    """Only two values that differ are written apart; what a pass has changed stays changed."""
    text = inputs((1, 3, 9, 7)) + conv(
        "a", "data", 2, "kernel_size: 3 kernel_size: 1 pad: 1 pad: 1 stride: 2 bias_term: false"
    )
    graph = network(tmp_path, text, seed=None)
    write_pair(graph, tmp_path / "a.prototxt", None, ["axis-windows"])
    (block,) = (m.message("convolution_param") for m in read_prototxt(tmp_path / "a.prototxt").values("layer")[1:])
    assert [(field.name, str(field.value)) for field in block] == [
        ("num_output", "2"), ("kernel_h", "3"), ("kernel_w", "1"), ("pad", "1"), ("pad", "1"), ("stride", "2"),
        ("bias_term", "false"),
    ]  # fmt: skip
    again = read_network(tmp_path / "a.prototxt")
    assert again.layer("a").params == graph.layer("a").params
    graph.layer("a").params = replace(graph.layer("a").params, kernel_w=5)
    write_pair(graph, tmp_path / "a.prototxt", None, ["axis-windows"])
    assert read_network(tmp_path / "a.prototxt").layer("a").params == graph.layer("a").params


def test_windows_of_three_axes(tmp_path):
    """Three values, two of them equal, stay: kernel_h and kernel_w are for two axes only."""
    text = "kernel_size: 3 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 pad: 0"
    graph = network(tmp_path, inputs((1, 2, 5, 6, 7)) + conv("a", "data", 2, text), seed=None)
    write_pair(graph, tmp_path / "a.prototxt", None, ["axis-windows"])
    params = read_network(tmp_path / "a.prototxt").layer("a").params
    assert params == graph.layer("a").params and params.kernel_nd == (3, 3, 1)


def test_batchnorm_says_what_it_does(tmp_path):
    graph = network(
        tmp_path,
        inputs((1, 3, 9, 7))
        + layer("a", "BatchNorm", "data")
        + layer("b", "BatchNorm", "a", "use_global_stats: false"),
    )
    stated = [layer.params.use_global_stats for layer in styled(graph, ["global-stats"]).layers[1:]]
    assert stated == [True, False]
    assert graph.layer("a").params.use_global_stats is None
