"""Layer messages and blob names; real Caffe runs what is in place and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.find_caffe import describe
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.formats.write.layers import blob_names, layer_message, network_tree
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Input, Plain, ReLU
from deepmerge.graph.types import TYPES
from tests.protobuf_judge import differences

DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: [1, 4, 3, 2] } } }\n"
CHAINS = {
    "relu": [("conv", "TanH", "data", "conv"), ("relu", "ReLU", "conv", "conv")],
    "bn": [("conv", "TanH", "data", "conv"), ("bn", "BatchNorm", "conv", "conv"), ("scale", "Scale", "conv", "conv"), ("relu", "ReLU", "conv", "conv")],
    "dropout": [("fc", "TanH", "data", "fc"), ("drop", "Dropout", "fc", "fc"), ("prob", "Softmax", "fc", "prob")],
    "input": [("norm", "Power", "data", "data"), ("a", "TanH", "data", "a")],
    "split": [("s", "Split", "data", "a b"), ("ra", "ReLU", "a", "ra"), ("rb", "ReLU", "b", "rb"), ("sum", "Eltwise", "ra rb", "sum")],
    "two readers": [("a", "TanH", "data", "a"), ("r", "ReLU", "a", "a"), ("b", "TanH", "a", "b"), ("c", "TanH", "a", "c")],
    "unknown": [("a", "TanH", "data", "a"), ("x", "SomeFork", "a", "a")],
}  # fmt: skip


@pytest.fixture(scope="module")
def caffe_types(caffe_python) -> list[str]:
    return describe(caffe_python)["types"]


def text_of(chain) -> str:
    text = DATA
    for name, kind, bottoms, tops in chain:
        ends = [f"bottom: '{b}'" for b in bottoms.split()] + [f"top: '{t}'" for t in tops.split()]
        text += f"layer {{ name: '{name}' type: '{kind}' {' '.join(ends)} }}\n"
    return text


def read(folder, text: str) -> Graph:
    path = folder / "net.prototxt"
    path.write_text(text)
    return read_network(path)


def ends(graph: Graph) -> list[tuple]:
    names = blob_names(graph)
    return [
        (x.name, x.type, " ".join(names[b] for b in x.bottoms), " ".join(names[t] for t in x.tops))
        for x in graph.layers
    ]


def net(*rows: tuple[str, str, str, str]) -> Graph:
    """A graph by hand: a version of a blob is written `name` or `name#version`."""
    graph, blobs = Graph("net"), {}
    for name, kind, bottoms, tops in rows:
        made = [blobs.setdefault(top, Blob(top.partition("#")[0])) for top in tops.split()]
        params = {"Input": Input(shape=((1,),)), "ReLU": ReLU()}.get(kind, Plain())
        graph.insert(Layer(name, kind, params, [blobs[b] for b in bottoms.split()], made))
    return graph


@pytest.mark.pitfall("row", 19)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_names_are_those_that_were_read(tmp_path, chain):
    assert ends(read(tmp_path, text_of(chain)))[1:] == chain


@pytest.mark.pitfall("row", 19)
def test_a_version_that_others_read_gets_a_name_of_its_own():
    graph = net(("x", "Input", "", "x"), ("a", "TanH", "x", "a"), ("r", "ReLU", "a", "a#1"), ("b", "TanH", "a", "b"))
    assert ends(graph)[1:] == [("a", "TanH", "x", "a_1"), ("r", "ReLU", "a_1", "a"), ("b", "TanH", "a_1", "b")]


def test_new_names_are_free():
    graph = net(
        ("x", "Input", "", "a_1"), ("a", "TanH", "a_1", "a"), ("r", "ReLU", "a", "a#1"), ("b", "TanH", "a", "b")
    )
    assert ends(graph)[1:] == [("a", "TanH", "a_1", "a_2"), ("r", "ReLU", "a_2", "a"), ("b", "TanH", "a_2", "b")]


def test_three_versions():
    graph = net(
        ("x", "Input", "", "x"),
        ("a", "TanH", "x", "a"),
        ("r", "ReLU", "a", "a#1"),
        ("s", "ReLU", "a#1", "a#2"),
        ("b", "TanH", "a#1", "b"),
    )
    assert [e[2:] for e in ends(graph)[1:]] == [("x", "a_1"), ("a_1", "a_1"), ("a_1", "a"), ("a_1", "b")]


@pytest.mark.parametrize("kind", ["LRN", "Eltwise", "AbsVal", "Pooling"])
def test_types_that_cannot_run_in_place_do_not(kind):
    graph = net(("x", "Input", "", "x"), ("a", "TanH", "x", "a"), ("l", kind, "a", "a#1"))
    assert ends(graph)[2] == ("l", kind, "a_1", "a")


def test_the_top_must_stand_where_the_bottom_does():
    graph = net(("x", "Input", "", "x"), ("a", "TanH", "x", "a"), ("b", "TanH", "x", "b"), ("s", "Scale", "b a", "a#1"))
    assert ends(graph)[3] == ("s", "Scale", "b a_1", "a")


@pytest.mark.parametrize("kind", [kind for kind, known in TYPES.items() if known.in_place and not known.fork])
def test_real_caffe_runs_them_in_place(tmp_path, worker, caffe_types, kind):
    if kind not in caffe_types:
        pytest.skip(f"{kind} is a fork's")
    texts = [DATA + f"layer {{ name: 'y' type: '{kind}' bottom: 'data' top: '{top}' }}" for top in ("data", "y")]
    images = np.abs(np.random.default_rng(1).standard_normal((1, 4, 3, 2))) + 0.1
    found = []
    for text, top in zip(texts, ("data", "y"), strict=True):
        (tmp_path / "net.prototxt").write_text(text)
        found.append(worker.load(tmp_path / "net.prototxt").forward({"data": images}, [top])[top])
    assert np.array_equal(*found)


@pytest.mark.pitfall("row", 19)
def test_what_is_written_runs_as_what_was_read(tmp_path, worker):
    body = [chain for name, chain in CHAINS.items() if name in ("bn", "split", "input")]
    for chain in body:
        graph = read(tmp_path, text_of(chain))
        write_pair(graph, tmp_path / "written.prototxt", None)
        sessions = [worker.load(tmp_path / f"{name}.prototxt") for name in ("net", "written")]
        feeds = {"data": np.random.default_rng(2).standard_normal((1, 4, 3, 2))}
        outs = [session.forward(feeds) for session in sessions]
        assert outs[0].keys() == outs[1].keys()
        assert all(np.array_equal(outs[0][key], outs[1][key]) for key in outs[0])


@pytest.mark.pitfall("row", 5)
def test_a_message_holds_all_but_the_weights(tmp_path):
    fields = "param { name: 'w' lr_mult: 2 } param { lr_mult: 1 } loss_weight: 1 convolution_param { num_output: 2 kernel_size: 1 } own { a: 'b' }"
    graph = read(
        tmp_path,
        DATA + f"layer {{ include {{ phase: TEST }} {fields} top: 'c' bottom: 'data' type: 'Convolution' name: 'c' }}",
    )
    layer = graph.layer("c")
    layer.weights = [np.zeros((2, 4, 1, 1), np.float32)]
    text = " ".join(format_tree(layer_message(layer, blob_names(graph))).split())
    assert text == 'name: "c" type: "Convolution" bottom: "data" top: "c" ' + fields.replace("'", '"')


def test_network_tree(tmp_path):
    graph = read(tmp_path, 'debug_info: true name: "n" state { stage: "a" }\n' + DATA + "own { a: 1 }")
    assert [f.name for f in network_tree(graph)] == ["name", "debug_info", "own", "layer"]
    graph.name = ""
    assert [f.name for f in network_tree(graph)] == ["debug_info", "own", "layer"]


def test_models_mean_the_same_to_real_caffe(models, caffe_python):
    """Deploy definitions, read as graphs and written again, are equal messages."""
    paths = [path for path in sorted(models.glob("*/*.prototxt")) if path.name != "train_val.prototxt"]
    cases = []
    for path in paths:
        text = path.read_text()
        assert "\nstate" not in text and "input:" not in text
        cases.append(("NetParameter", text, format_tree(network_tree(read_network(path)))))
    assert len(cases) >= 7 and differences(caffe_python, cases) == [""] * len(cases)


@pytest.mark.parametrize("kind", ["Split", "Flatten"])
def test_nothing_runs_in_place_on_memory_that_others_read(kind):
    """Caffe hands the bottom's memory on to the tops of these."""
    graph = net(("x", "Input", "", "x"), ("f", kind, "x", "f"), ("r", "ReLU", "f", "f#1"), ("b", "TanH", "x", "b"))
    assert ends(graph)[1:3] == [("f", kind, "x", "f_1"), ("r", "ReLU", "f_1", "f")]
