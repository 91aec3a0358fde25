"""What tests of train_val networks share: a small network, and its train_val as protobuf reads it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from deepmerge.formats import schema
from deepmerge.formats.read import read_train_layers
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.train_val import TrainData, train_val
from deepmerge.graph.graph import Graph
from tests.helpers import conv, inputs, layer, network, relu


def parsed(text: str):
    """A prototxt as protobuf reads it, which is how Caffe reads it."""
    return text_format.Parse(text, schema.message_class("NetParameter")())


def made(graph: Graph, text: str = "", new=(), folder: Path | None = None):
    """The train_val of a graph whose user gives the train_val `text`; and its notes."""
    if text:
        path = folder / "train_val.prototxt"
        path.write_text(text)
        graph.train_layers = read_train_layers(path, graph)
    tree, front = train_val(graph, lambda one: one.name in new, TrainData())
    return list(parsed(format_tree(tree)).layer), front.notes


DATA = 'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 7 } }\n'
LOSS = layer("loss", "SoftmaxWithLoss", "b label")


def small_network(folder: Path) -> Graph:
    """data → a → relu → b → prob."""
    text = inputs((1, 3, 6, 5)) + conv("a", "data", 4) + relu("a") + conv("b", "a", 8, "kernel_h: 6 kernel_w: 5")
    return network(folder, text + layer("prob", "Softmax", "b"))
