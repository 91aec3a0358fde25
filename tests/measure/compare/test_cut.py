"""What is left of a network for an engine that lacks some of its layers."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.measure.compare.cut import cut
from tests.fork_nets import SSD_MOBILENET, YOLO

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 5 } } }\n'


def layer(kind, bottoms, top):
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{top}" type: "{kind}" {reads} top: "{top}" }}\n'


def unknown(layer):
    return layer.params is None


def detections(layer):
    return layer.type in ("PriorBox", "DetectionOutput", "Yolov3DetectionOutput")


def outputs(graph):
    return [blob.name for blob in graph.outputs]


def test_a_network_that_the_engine_runs_stays_whole(network):
    graph = network(SSD_MOBILENET)
    made = cut(graph, unknown, "x")
    assert made.graph is graph and (made.stands_for, made.notes) == ({}, [])


@pytest.mark.parametrize(
    ("text", "standing", "kinds"),
    [
        (SSD_MOBILENET, ["mbox_loc", "mbox_conf_flatten"], "PriorBox, DetectionOutput"),
        (YOLO, ["layer5-conv"], "Yolov3DetectionOutput"),
    ],
)
def test_the_heads_of_a_detector_stand_for_its_detections(network, text, standing, kinds):
    graph = network(text)
    made = cut(graph, detections, "x")
    assert outputs(made.graph) == standing and outputs(graph) == ["detection_out"]
    assert made.stands_for == {name: ["detection_out"] for name in standing}
    verb = "stand" if len(standing) > 1 else "stands"
    names = ", ".join(map(repr, standing))
    assert made.notes == [f"{names} {verb} for output 'detection_out': engine 'x' cannot run layers of type {kinds}"]


def test_what_only_other_outputs_are_made_from_is_not_named(network):
    text = DATA + layer("ReLU", "data", "a") + layer("TanH", "data", "b") + layer("Odd", "a", "odd")
    text += layer("ReLU", "odd", "y") + layer("Rare", "b", "z") + layer("Strange", "a", "w") + layer("AbsVal", "a", "c")
    made = cut(network(text), unknown, "x")
    assert outputs(made.graph) == ["b", "c"] and made.stands_for == {"b": ["z"]}
    assert made.notes == [
        "output 'y' is not compared: engine 'x' cannot run layers of type Odd",
        "'b' stands for output 'z': engine 'x' cannot run layers of type Rare",
        "output 'w' is not compared: engine 'x' cannot run layers of type Strange",
    ]


def test_nothing_is_cut_where_nothing_would_be_left(network):
    graph = network(DATA + layer("Odd", "data", "y"))
    assert cut(graph, unknown, "x").graph is graph


def test_layers_with_weights_are_not_cut_unless_no_pass_knows_them(network):
    conv = 'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" convolution_param { num_output: 2 kernel_size: 1 } }\n'
    graph = network(DATA + conv % ("first", "data", "a") + layer("Odd", "a", "odd") + conv % ("last", "odd", "y"))
    made = cut(graph, unknown, "x")
    assert outputs(made.graph) == ["a"]  # no weights were read
    graph.layer("odd").weights = [np.ones(3, np.float32)]
    assert outputs(cut(graph, unknown, "x").graph) == ["a"]
    graph.layer("last").weights = [np.ones((2, 2, 1, 1), np.float32), np.ones(2, np.float32)]
    assert cut(graph, unknown, "x").graph is graph
