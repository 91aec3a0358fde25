"""Networks that are one in the prototxt and another in the caffemodel."""

from __future__ import annotations

import pytest

from deepmerge.engines.caffe import CaffeEngine
from deepmerge.formats.read import read_network
from deepmerge.formats.read.build import build
from deepmerge.formats.read.differences import differences
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.stored import StoredLayer

Row = tuple[str, str, str, str]  # name, type, bottoms, tops

NET = [
    ("conv1", "Convolution", "data", "conv1"),
    ("relu1", "ReLU", "conv1", "conv1"),
    ("pool1", "Pooling", "conv1", "pool1"),
    ("conv2", "Convolution", "pool1", "conv2"),
    ("sum", "Eltwise", "pool1 conv2", "sum"),
]
STORED = [
    ("data", "Data", "", "data label"),
    *NET,
    ("fc", "InnerProduct", "sum", "fc"),
    ("loss", "SoftmaxWithLoss", "fc label", "loss"),
]


def said(net: list[Row], stored: list[Row], phase: str = "") -> list[str]:
    text = "layer { name: 'input' type: 'Input' top: 'data' }\n"
    for name, kind, bottoms, tops in net:
        ends = [f"bottom: '{b}'" for b in bottoms.split()] + [f"top: '{t}'" for t in tops.split()]
        fields = "convolution_param { num_output: 4 kernel_size: 1 }" if kind == "Convolution" else ""
        fields += "pooling_param { kernel_size: 1 }" if kind == "Pooling" else ""
        text += f"layer {{ name: '{name}' type: '{kind}' {' '.join(ends)} {fields} }}\n"
    graph = build("net", parse(text).values("layer"), "net.prototxt")
    return list(differences(graph, [StoredLayer(n, k, [], phase, b.split(), t.split()) for n, k, b, t in stored]))


def changed(rows: list[Row], which: str, **changes) -> list[Row]:
    keys = ("name", "kind", "bottoms", "tops")
    return [
        tuple(changes.get(key, old) for key, old in zip(keys, row, strict=True)) if row[0] == which else row
        for row in rows
    ]


ALIKE = {
    "as it was trained": STORED,
    "Splits that Caffe put in": [
        *STORED[:4],
        ("pool1_split", "Split", "pool1", "pool1_split_0 pool1_split_1"),
        ("conv2", "Convolution", "pool1_split_0", "conv2"),
        ("sum", "Eltwise", "pool1_split_1 conv2", "sum"),
    ],
    "a Dropout": [
        *STORED[:4],
        ("drop", "Dropout", "pool1", "drop"),
        ("conv2", "Convolution", "drop", "conv2"),
        *STORED[5:],
    ],
    "blobs of other names": [(n, k, b.replace("pool1", "p"), t.replace("pool1", "p")) for n, k, b, t in STORED],
    "a ReLU of another name": changed(STORED, "relu1", name="other"),
    "names and weights alone": [(name, kind, "", "") for name, kind, _, _ in STORED],
    "neither type nor ends": [(name, "", "", "") for name, _, _, _ in STORED],
    "some layers alone": STORED[4:],
    "V1's number of a fork's type": changed(STORED, "sum", kind="1000"),
}


@pytest.mark.pitfall("row", 18)
@pytest.mark.parametrize("stored", ALIKE.values(), ids=ALIKE)
def test_alike(stored):
    assert said(NET, stored) == []


COUNTS = "in the prototxt, which counts, but"
UNLIKE = {
    "type": (changed(STORED, "relu1", kind="TanH"), [f"'relu1': type 'ReLU' {COUNTS} 'TanH' in the caffemodel"]),
    "another bottom": (changed(STORED, "conv2", bottoms="conv1"), [f"'conv2': reads 'pool1' {COUNTS} 'relu1' in the caffemodel"]),
    "order": (changed(STORED, "sum", bottoms="conv2 pool1"), [f"'sum': reads 'pool1' and 'conv2' {COUNTS} 'conv2' and 'pool1' in the caffemodel"]),
    "a layer less": (
        [row for row in STORED if row[0] != "relu1"],
        [f"'pool1': reads 'conv1' through ReLU {COUNTS} 'conv1' in the caffemodel"],
    ),
    "a layer more": (
        [*STORED[:2], ("norm", "LRN", "conv1", "norm"), ("pad", "Crop", "norm", "conv1"), *STORED[2:]],
        [f"'relu1': reads 'conv1' {COUNTS} 'conv1' through LRN, Crop in the caffemodel"],
    ),
    "the input": (changed(STORED, "conv2", bottoms="data"), [f"'conv2': reads 'pool1' {COUNTS} the input in the caffemodel"]),
}  # fmt: skip


@pytest.mark.pitfall("row", 18)
@pytest.mark.parametrize(("stored", "lines"), UNLIKE.values(), ids=UNLIKE)
def test_layer_by_layer(stored, lines):
    assert said(NET, stored) == [f"layer {line}" for line in lines]


def test_of_twins_the_one_that_runs():
    twin = ("relu1", "TanH", "conv1", "conv1")
    text = "layer { name: 'i' type: 'Input' top: 'd' } layer { name: 'relu1' type: 'ReLU' bottom: 'd' top: 'd' }"
    graph = build("net", parse(text).values("layer"), "net.prototxt")
    train, test = StoredLayer("relu1", twin[1], phase="TRAIN"), StoredLayer("relu1", "ReLU", phase="TEST")
    assert list(differences(graph, [train, test])) == list(differences(graph, [test, train])) == []
    assert len(list(differences(graph, [train]))) == 1


def test_many_ways_are_not_looked_at():
    doubled = [(f"s{i}", "Eltwise", f"s{i - 1} s{i - 1}" if i else "data data", f"s{i}") for i in range(80)]
    chain = [(f"r{i}", "ReLU", f"r{i - 1}" if i else "data", f"r{i}") for i in range(80)]
    for rows, last in ((doubled, "s79"), (chain, "r79")):
        stored = [("x", "Data", "", "data"), *rows, ("end", "ReLU", last, "end")]
        assert said([("end", "ReLU", "data", "end")], stored) == []


def test_the_same_way_is_said_once():
    stored = [("x", "Data", "", "data"), ("c", "Concat", "data data data", "c"), ("end", "ReLU", "c", "end")]
    (line,) = said([("end", "ReLU", "data", "end")], stored)
    assert line.endswith("but the input through Concat (3 times) in the caffemodel")


@pytest.mark.pitfall("row", 17)
@pytest.mark.pitfall("row", 18)
def test_what_real_caffe_saves(tmp_path, models, caffe_python):
    """Its Splits are dropped, and there is nothing to tell; another prototxt is told of, and is what counts."""
    prototxt, caffemodel = (models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    saved = tmp_path / "saved.caffemodel"
    with CaffeEngine(caffe_python).load_files(prototxt, caffemodel) as session:
        session.save(saved)
    assert b"_split_1" in saved.read_bytes()
    graph = read_network(prototxt, saved)
    assert graph.warnings == [] and "Split" not in {layer.type for layer in graph.layers}
    other = tmp_path / "other.prototxt"
    text = prototxt.read_text()
    assert text.count('type: "ReLU"') > 2
    other.write_text(text.replace('type: "ReLU"', 'type: "TanH"', 1))
    (line,) = read_network(other, saved).warnings
    assert line.endswith("type 'TanH' in the prototxt, which counts, but 'ReLU' in the caffemodel")
