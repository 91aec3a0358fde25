"""Files → Graph: what is read, what is refused, and how that is said."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest

from deepmerge.engines.caffe import CaffeEngine
from deepmerge.errors import EngineError, GraphError, ReadError, ShapeError
from deepmerge.formats.read import read_network
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.write import write_pair
from deepmerge.graph.check import require
from tests.helpers import calls

GOOD = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {
    num_output: 4
    kernel_size: 3
  }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="session")
def mini(models):
    return models / "inception_mini/inception_mini.prototxt", models / "inception_mini/inception_mini.caffemodel"


def failure(prototxt, caffemodel=None) -> str:
    with pytest.raises((ReadError, GraphError, ShapeError)) as caught:
        read_network(prototxt, caffemodel)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_pair(mini, worker):
    graph = read_network(*mini)
    require(graph)
    assert graph.warnings == [] and graph.train_layers == [] and graph.name == "InceptionMini"
    with worker.load(*mini) as session:
        params, info = session.params(), session.info()
    names = [layer["name"] for layer in info["layers"] if layer["type"] != "Split"]
    assert [layer.name for layer in graph.layers] == names
    assert {layer.name for layer in graph.layers if layer.weights} == set(params)
    for layer in graph.layers:
        assert all(np.array_equal(w, p) for w, p in zip(layer.weights, params.get(layer.name, []), strict=True))


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet50", "squeezenet"])
def test_zoo(zoo, name):
    graph = read_network(zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel")
    require(graph)
    assert graph.warnings == []


def test_reading_takes_few_calls(zoo):
    """None for each of the six million numbers."""
    assert calls(lambda: read_network(zoo / "googlenet.prototxt", zoo / "googlenet.caffemodel")) < 250_000


def test_fields_of_the_network_are_kept(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('force_backward: true\nmy_fork { a: 1 }\nstate { stage: "x" }\n' + GOOD)
    graph = read_network(path)
    assert [f.name for f in graph.tree] == ["force_backward", "my_fork"]


@pytest.mark.pitfall("row", 14)
@pytest.mark.pitfall("row", 15)
def test_twins_of_two_phases(tmp_path):
    path = tmp_path / "net.prototxt"
    twin = GOOD.splitlines()[9]
    train = twin.replace("}", "include { phase: TRAIN } relu_param { negative_slope: 1 } }")
    test = twin.replace("}", "include { phase: TEST } }")
    path.write_text(GOOD.replace(twin, train + "\n" + test))
    graph = read_network(path)
    assert graph.layer("relu1").params.negative_slope == 0
    assert [str(m.value("name")) for m in graph.train_layers] == ["relu1"]


OF_FORKS = """input: "a" input_dim: [1, 8, 4, 4]
layers { name: "p" type: POOLING bottom: "a" top: "p" pooling_param { pool: L2 kernel_size: 2 stride: 2 } }
layers { name: "l" type: LOCAL bottom: "p" top: "l" local_param { engine: FAST } }
layers { name: "r" type: RELU bottom: "l" top: "r" include { phase: RUN } }
layers { name: "e" type: ELTWISE bottom: "l" bottom: "p" top: "e" eltwise_param { operation: MEAN } }
"""


@pytest.mark.pitfall("row", 6)
def test_values_that_no_enum_of_caffes_has_are_kept(tmp_path):
    """protobuf's text parser fails at each of them, allow_unknown_field or not."""
    path, again = tmp_path / "net.prototxt", tmp_path / "again.prototxt"
    path.write_text(OF_FORKS)
    graph = read_network(path)
    assert [(layer.name, layer.type) for layer in graph.layers[1:]] == [
        ("p", "Pooling"),
        ("l", "Local"),
        ("e", "Eltwise"),
    ]
    assert [str(m.value("name")) for m in graph.train_layers] == ["r"]
    write_pair(graph, again, tmp_path / "again.caffemodel")
    for text in (" pool: L2\n", " engine: FAST\n", " operation: MEAN\n", ' type: "Local"\n'):
        assert text in again.read_text()
    assert [layer.params for layer in read_network(again).layers] == [layer.params for layer in graph.layers]


# what was changed in GOOD → the error
TYPOS = {
    ('name: "conv1" type', 'name: conv1 type'): "4:3: layer 'conv1' (Convolution): 'name' needs a quoted string (name: \"conv1\"), found 'conv1'",
    ('type: "ReLU"', "type: RELU"): "10:23: layer 'relu1' (RELU): 'type' needs a quoted string (type: \"RELU\"), found 'RELU'",
    (' type: "ReLU"', ""): "10:1: layer 'relu1' has no type; give it one, such as type: \"Convolution\"",
    (' type: "ReLU"', ' typ: "ReLU"'): "10:23: layer 'relu1' (): unknown field 'typ'; did you mean 'type'?",
    ("kernel_size", "kernal_size"): "5:3: layer 'conv1' (Convolution), convolution_param: 'kernel_size' is missing; is 'kernal_size' a misspelling of it?",
    ("num_output: 4", "num_outputs: 4"): "5:3: layer 'conv1' (Convolution), convolution_param: 'num_output' is missing; is 'num_outputs' a misspelling of it?",
    ("num_output: 4", "num_output: 4.5"): "6:5: layer 'conv1' (Convolution), convolution_param: 'num_output' needs a whole number from 0 on, found '4.5'",
    ("num_output: 4", "num_output: $N"): "6:17: unexpected character '$'; a template's placeholder that was never filled in?, in: num_output: $N",
    ("num_output: 4", "num_output: {{ n }}"): "6:18: expected a field's name, found '{', in: num_output: {{ n }}",
    ("    kernel_size: 3\n  }\n", "    kernel_size: 3\n"): "3:1: 'layer' opens here and is never closed; put '}' after it, in: layer {",
    ("    kernel_size: 3\n  }\n", "    kernel_size: 3\n  }}}\n"): "8:5: '}' closes nothing; is there one too many?, in: }}}",
    ("kernel_size: 3", "kernel_size: 3 %"): "7:20: unexpected character '%'; a template's placeholder that was never filled in?, in: kernel_size: 3 %",
    ("kernel_size: 3", "kernel_size = 3"): "7:17: unexpected character '='; take it out, or quote the string, in: kernel_size = 3",
    ('bottom: "conv1" top: "fc"', 'bottom: "conv_1" top: "fc"'):
        "11:1: layer 'fc' (InnerProduct) reads 'conv_1', which no layer before it makes in the TEST phase; did you mean 'conv1'?",
    ('bottom: "data" ', ""): "3:1: layer 'conv1' (Convolution): bottom: expected 1 or more, found 0",
    ("kernel_size: 3", "kernel_size: 9"): "3:1: layer 'conv1' (Convolution): kernel: expected ",
    ("layer {\n", "layr {\n"): "3:1: unknown field 'layr'; did you mean 'layer'?",
    ("layer {\n", "layers {\n"):
        "3:1: mixes `layer` (line 2) and `layers` (line 3), and Caffe would lose some of them; write all as `layer`",
    ("num_output: 4", "num_output: 4 num_output: 5"):
        "6:19: layer 'conv1' (Convolution), convolution_param: 'num_output' is given twice (first in line 6); keep one of them",
}  # fmt: skip


@pytest.mark.pitfall("row", 7)
@pytest.mark.parametrize(("change", "message"), TYPOS.items(), ids=[f"{a[:20]} to {b[:20]}" for a, b in TYPOS])
def test_typos(tmp_path, change, message):
    path = tmp_path / "net.prototxt"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    found = failure(path)
    assert found.startswith(f"{path}:{message}") if message.endswith(" ") else found == f"{path}:{message}"


@pytest.mark.parametrize(
    "change",
    [("num_output: 4", "num_output: 4 num_output: 5"), ('type: "ReLU"', "type: RELU"), ('bottom: "data" ', "")],
)
def test_real_caffe_refuses_them_too(tmp_path, caffe_python, change):
    path = tmp_path / "net.prototxt"
    path.write_text(GOOD.replace(*change, 1))
    with pytest.raises(EngineError):
        CaffeEngine(caffe_python).load_files(path)


def test_misspellings_that_harm_nothing_are_warned_of(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(GOOD.replace("kernel_size: 3", "kernel_size: 3 strid: 2"))
    graph = read_network(path)
    note = "layer 'conv1' (Convolution), convolution_param, line 7: unknown field 'strid' is kept as it is; did you mean 'stride'?"
    assert graph.warnings == [note]
    assert graph.layer("conv1").tree.message("convolution_param").value("strid") == "2"


FILES = {
    "empty": (b"", "is empty"),
    "blank": (b"# nothing\n", "holds no network (only blanks and comments); give a prototxt with layers"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    "html": (b"<!DOCTYPE html><html>", "is an HTML page (a failed download?); download the file again"),
    "gzip": (gzip.compress(b"x"), "is a gzip file; unpack it first"),
}  # fmt: skip


LFS = pytest.mark.pitfall("row", 12)


@pytest.mark.parametrize(
    ("data", "message"), [pytest.param(*FILES[name], id=name, marks=LFS if name == "lfs" else ()) for name in FILES]
)
def test_other_files(tmp_path, mini, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert failure(path) == f"{path}: {message}"
    found = failure(mini[0], path)
    if data.startswith(b"#"):
        message = "is text, not a caffemodel; the prototxt comes first, the caffemodel second"
    assert found == f"{path}: {message}"


def test_no_file(tmp_path, mini):
    assert failure(tmp_path) == f"{tmp_path}: is a directory; give the file in it"
    assert failure(tmp_path / "no") == f"{tmp_path / 'no'}: no such file"
    assert failure(mini[0], tmp_path) == f"{tmp_path}: is a directory; give the file in it"


def test_files_in_the_wrong_order(mini):
    prototxt, caffemodel = mini
    assert (
        failure(caffemodel)
        == f"{caffemodel}: is a binary file, not a prototxt; is it the caffemodel, given in the wrong place?"
    )
    assert (
        failure(prototxt, prototxt)
        == f"{prototxt}: is text, not a caffemodel; the prototxt comes first, the caffemodel second"
    )


def test_a_solver(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "train_val.prototxt"\nbase_lr: 0.1\nlr_policy: "poly"\nsolver_mode: GPU\n')
    assert (
        failure(path)
        == f"{path}: holds no `layer`, only net, base_lr, lr_policy, solver_mode; is it a network's prototxt (not a solver's)?"
    )


def test_unequal_pairs(tmp_path, models, mini):
    prototxt, caffemodel = models / "googlenet/deploy.prototxt", mini[1]
    text = "needs weights, and the caffemodel has none of that name"
    assert failure(prototxt, caffemodel).startswith(
        f"{prototxt} with {caffemodel}: layer 'conv1/7x7_s2' (Convolution) {text}"
    )
    wider = tmp_path / "wider.prototxt"
    wider.write_text(mini[0].read_text().replace("num_output: 32", "num_output: 33", 1))
    found = failure(wider, caffemodel)
    expected = (
        "weight blob 0: expected (33, 3, 3, 3), found (32, 3, 3, 3); does the caffemodel belong to this prototxt?"
    )
    assert found == f"{wider} with {caffemodel}: layer 'conv1/3x3' (Convolution): {expected}"


def test_truncated(tmp_path, mini):
    data, cut = mini[1].read_bytes(), tmp_path / "cut.caffemodel"
    cut.write_bytes(data[: len(data) // 2])
    found = failure(mini[0], cut)
    assert found.startswith(f"{cut}: is cut short or damaged after layer ") and found.endswith(
        "are left; get the file again"
    )


def test_mutated_prototxts_raise_only_our_errors(tmp_path, mini):
    path, chance = tmp_path / "net.prototxt", random.Random(11)
    words = mini[0].read_text().split(" ")
    for _ in range(120):
        changed = list(words)
        for _ in range(chance.randrange(1, 4)):
            at, other = chance.randrange(len(words)), chance.choice(words)
            changed[at] = chance.choice(
                [other, "", changed[at] + other, "0", "-1", "99999999999", '"x"', "}", "{", "type:", changed[at][:-1]]
            )
        path.write_text(" ".join(changed))
        try:
            read_network(path)
        except (ReadError, GraphError) as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))


def test_mutated_fields_raise_only_our_errors(tmp_path):
    """Each number of a network that holds many layer types, replaced by sizes that do not fit."""
    path = tmp_path / "net.prototxt"
    text = GOOD + "".join(
        f'layer {{ name: "{kind}" type: "{kind}" bottom: "conv1" top: "{kind}" {fields} }}\n'
        for kind, fields in [
            ("Pooling", "pooling_param { kernel_size: 2 stride: 2 pad: 1 }"),
            ("LRN", "lrn_param { local_size: 5 }"),
            ("Slice", "top: 'other' slice_param { axis: 1 slice_point: 2 }"),
            ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } axis: 0 num_axes: 2 }"),
            ("Tile", "tile_param { axis: 1 tiles: 2 }"),
            ("SPP", "spp_param { pyramid_height: 2 }"),
            ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 2 group: 2 dilation: 1 }"),
            ("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
        ]
    )
    path.write_text(text)
    read_network(path)
    for at in [i for i, char in enumerate(text) if char.isdigit() and text[i - 1] in " -"]:
        for value in ("0", "-1", "7", "2147483647", "4294967295", "9999999999999999999"):
            path.write_text(text[:at] + value + text[at + 1 :])
            try:
                read_network(path)
            except (ReadError, GraphError) as error:
                assert "\n" not in str(error) and str(error).startswith(f"{path}:")


def test_positions_are_where_the_field_stands(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(GOOD.replace("num_output: 4", "num_output: x"))
    with pytest.raises(ReadError) as caught:
        read_network(path)
    line, column = caught.value.line, caught.value.column
    assert GOOD.splitlines()[line - 1][column - 1 :].startswith("num_output") and parse(GOOD)
