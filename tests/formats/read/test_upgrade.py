"""Older ways to write a network; real Caffe upgrades the same."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.upgrade import refuse_mixed, upgrade
from tests.trees import plain

SUM = 'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }'
INPUTS = {
    "dims": 'input: "a" input: "b" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4',
    "one after the other": 'input: "a" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input: "b" input_dim: [1, 2, 3, 4]',
    "shapes": 'input: "a" input_shape { dim: 5 dim: 2 } input: "b" input_shape < dim: 5 dim: 2 >',
    "behind": SUM + ' input: "a" input: "b" input_shape { dim: 2 } input_shape { dim: 2 }',
    "both": 'input: "a" input: "b" input_shape { dim: 2 } input_shape { dim: 2 } input_dim: 7',
}


@pytest.mark.pitfall("row", 4)
@pytest.mark.parametrize("text", INPUTS.values(), ids=INPUTS)
def test_inputs_as_worker_upgrades_them(tmp_path, worker, text):
    path = tmp_path / "net.prototxt"
    path.write_text(text if SUM in text else f"{text} {SUM}")
    graph = read_network(path)
    shapes = dict(zip((blob.name for blob in graph.inputs), graph.layer("input").params.shape, strict=True))
    with worker.load(path) as session:
        assert session.inputs == shapes and list(shapes) == ["a", "b"]
        assert session.info()["layers"][0]["name"] == graph.layers[0].name == "input"


@pytest.mark.pitfall("row", 4)
def test_the_input_layer_comes_first():
    tree = upgrade(parse(f'name: "n"\n{SUM}\ninput: "a"\ninput_shape {{ dim: 2 }}'), "x")
    assert [f.name for f in tree] == ["name", "layer", "layer"]
    shape = ("input_param", [("shape", [("dim", ("bare", "2"))])])
    assert plain(tree.fields[1].value) == [
        ("name", ("quoted", "input")),
        ("type", ("quoted", "Input")),
        ("top", ("quoted", "a")),
        shape,
    ]
    assert (tree.fields[1].value.line, tree.fields[1].value.column) == (3, 1)


def test_todays_form_is_left_alone():
    tree = parse(f'name: "n" {SUM} force_backward: true')
    assert upgrade(tree, "x") is tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'layer { }\nlayers { }', "net.prototxt:2:1: mixes `layer` (line 1) and `layers` (line 2), and Caffe would lose some of them; write all as `layer`",
            marks=pytest.mark.pitfall("row", 3),
        ),
        ('net: "a" base_lr: 1 net: "b"', "net.prototxt: holds no `layer`, only net, base_lr; is it a network's prototxt (not a solver's)?"),
        ('layer { }\ninput: "a" input_dim: 1', "net.prototxt:2:1: 1 `input` need 4 `input_dim`, or one `input_shape` each, found 1 `input_dim`; give its size: --input a=1,3,H,W"),
        ('input: "a" layer { bottom: "a" }', "net.prototxt:1:1: 1 `input` need 4 `input_dim`, or one `input_shape` each, found 0 `input_dim`; give its size: --input a=1,3,H,W"),
        ('input: "a" input: "b" input_shape { } layer { }', "net.prototxt:1:1: 2 `input` but 1 `input_shape`; give one each"),
    ],
)  # fmt: skip
def test_refusals(text, message):
    with pytest.raises(ReadError) as caught:
        refuse_mixed(parse(text), "net.prototxt")
        upgrade(parse(text), "net.prototxt")
    assert str(caught.value) == message
