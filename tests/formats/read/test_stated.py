"""Sizes that a prototxt states and does not run with, and networks in unusual places."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.formats.write import write_pair
from tests.helpers import conv, layer, shapes

FC = layer("fc", "InnerProduct", "data", "num_output: 5")
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
DUMMY = 'layer {{ name: "data" type: "DummyData" top: "{}" dummy_data_param {{ shape {{ {} }} }} }}\n'


def test_a_reshape_that_fits_the_stated_batch_alone(read, tmp_path, worker):
    front = 'layer {{ name: "d" type: "Data" top: "data" top: "label" include {{ phase: {} }} data_param {{ batch_size: {} }} transform_param {{ crop_size: 6 mean_value: [1, 2, 3] }} }}\n'
    text = front.format("TRAIN", 9) + front.format("TEST", 4) + FC
    graph = read(text + layer("r", "Reshape", "fc", "shape { dim: 2 dim: 10 }") + LOSS.replace('"fc"', '"r"'))
    assert shapes(graph)["data"] == (4, 3, 6, 6) and shapes(graph)["prob"] == (2, 10)
    assert graph.warnings == ["layer 'r' does not fit a single image, so the batch of 'd' is kept: 4"]
    write_pair(graph, tmp_path / "deploy.prototxt", None)
    with worker.load(tmp_path / "deploy.prototxt") as session:
        assert session.forward({"data": np.ones((4, 3, 6, 6))})["prob"].shape == (2, 10)


def test_a_reshape_that_fits_what_the_user_gives(read):
    front = 'layer { name: "d" type: "Data" top: "data" top: "label" }\n'
    text = front + FC + layer("r", "Reshape", "fc", "shape { dim: 2 dim: 10 }") + LOSS.replace('"fc"', '"r"')
    assert shapes(read(text, data=(4, 3, 6, 6)))["prob"] == (2, 10)
    with pytest.raises(Exception, match=r"layer 'r' \(Reshape\): shape: expected dims for the 25 values"):
        read(text, data=(5, 3, 6, 6))


POSE = 'input: "image" input_dim: 1 input_dim: 3 input_dim: 1 input_dim: 1\n' + conv(
    "c", "image", 2, "kernel_size: 3 pad: 1"
)


def test_a_placeholder_asks_for_the_size(read):
    (note,) = read(POSE).warnings
    assert note.endswith("a placeholder for a size that is given at run time; give its size: --input image=1,3,H,W")
    assert note.startswith("input 'image' is 1×1, smaller than the window of layer 'c'")
    assert read(POSE, image=(3, 16, 16)).warnings == read(POSE, image=(3, 1, 1)).warnings == []


def test_an_input_of_one_value_a_channel_is_no_placeholder(read):
    text = POSE.replace("kernel_size: 3 pad: 1", "kernel_size: 1")
    assert read(text + layer("p", "Pooling", "c", "pool: AVE global_pooling: true")).warnings == []


def test_dummy_data_twins_are_images_and_labels(read):
    text = DUMMY.format("data", "dim: 4 dim: 3 dim: 8 dim: 8") + DUMMY.format("label", "dim: 4") + FC + LOSS
    graph = read(text)
    assert [(x.name, x.type) for x in graph.layers] == [("data", "Input"), ("fc", "InnerProduct"), ("prob", "Softmax")]
    assert shapes(graph)["data"] == (4, 3, 8, 8) and graph.given_inputs == {}
    assert [str(m.value("type")) for m in graph.train_layers] == ["DummyData", "DummyData", "SoftmaxWithLoss"]
    graph = read(text, data=(3, 6, 6))
    assert shapes(graph)["data"] == (4, 3, 6, 6) and graph.given_inputs == {"data": (4, 3, 6, 6)}


def test_dummy_data_without_a_loss_stays_unless_it_gets_a_size(read):
    text = DUMMY.format("data", "dim: 4 dim: 3 dim: 8 dim: 8") + FC
    assert [x.type for x in read(text).layers] == ["DummyData", "InnerProduct"]
    assert [x.type for x in read(text, data=(3, 6, 6)).layers] == ["Input", "InnerProduct"]
    beside = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 } } }\n' + text
    with pytest.raises(Exception, match="has no input 'data'; there is only x"):
        read(beside, data=(3, 6, 6))


@pytest.mark.parametrize("field", ["net_param", "train_net_param", "test_net_param"])
def test_a_solver_with_the_network_inside(read, field):
    net = 'layer { name: "d" type: "Data" top: "data" top: "label" }\n' + FC + LOSS
    graph = read(f"base_lr: 0.1 {field} {{ {net} }}", data=(3, 6, 6))
    assert [x.name for x in graph.layers] == ["d", "fc", "prob"]


PYTHON = (
    'layer { name: "in" type: "Python" top: "data" top: "info" top: "boxes" python_param { module: "m" layer: "L" } }\n'
)
RCNN = (
    PYTHON
    + conv("conv1", "data", 4, "kernel_size: 3")
    + layer("norm1", "LRN", "conv1")
    + conv("rpn", "norm1", 2)
    + layer("targets", "Python", "rpn boxes info data", tops="rpn_labels rpn_targets")
    + layer("rpn_loss", "SmoothL1Loss", "rpn rpn_targets")
    + layer("proposal", "Python", "rpn info", tops="rois")
    + layer("roi", "ROIPooling", "norm1 rois")
    + layer("fc", "InnerProduct", "roi", "num_output: 5")
    + layer("loss", "SoftmaxWithLoss", "fc rpn_labels")
)


def test_a_python_layer_in_the_middle_stays(read):
    """One size is enough where only layers of unknown types read the other inputs; labels and losses go."""
    graph = read(RCNN, data=(3, 20, 20))
    names = ["in", "in/info", "conv1", "norm1", "rpn", "proposal", "roi", "fc", "prob"]
    assert [x.name for x in graph.layers] == names
    assert [b.name for b in graph.outputs] == ["prob"]
    assert shapes(graph)["norm1"] == (1, 4, 18, 18) and shapes(graph)["fc"] is None
    assert any("does not say which shape 'info' has" in note for note in graph.warnings)
    assert shapes(read(RCNN, data=(3, 20, 20), info=(1, 3)))["info"] == (1, 3)


def test_merges_before_a_python_layer_happen(read):
    from deepmerge.plan import make_plan
    from deepmerge.plan.plan import Wishes

    plan = make_plan(read(RCNN, data=(3, 20, 20)), Wishes())
    assert [(step.name, step.layers) for step in plan.recipe.steps] == [("conv1", ("norm1",))]


@pytest.mark.parametrize(
    "loss",
    [
        'layer { name: "l" type: "Python" bottom: "fc" bottom: "label" top: "l" python_param { module: "m" layer: "EuclideanLossLayer" } }',
        'layer { name: "l" type: "Python" bottom: "fc" bottom: "label" top: "l" loss_weight: 1 }',
        'layer { name: "l" type: "MyCost" bottom: "fc" bottom: "label" top: "l" }',
        'layer { name: "s" type: "Silence" bottom: "fc" }',
    ],
)
def test_the_output_before_what_reads_labels(read, loss):
    graph = read('layer { name: "d" type: "Data" top: "data" top: "label" }\n' + FC + loss, data=(3, 6, 6))
    assert [x.name for x in graph.layers] == ["d", "fc"]


@pytest.mark.parametrize("loss", [LOSS, LOSS + layer("acc", "Accuracy", "fc label")])
def test_data_for_training_alone(read, loss):
    """In the TEST phase nothing makes the images, nor the labels; the images get a size, and the losses go."""
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } }\n'
    with pytest.raises(Exception, match=r"if it is an input, give its size: --input data=1,3,H,W$"):
        read(data + FC + loss)
    graph = read(data + FC + loss, data=(3, 6, 6))
    assert [(x.name, x.type) for x in graph.layers] == [("data", "Input"), ("fc", "InnerProduct"), ("prob", "Softmax")]
    assert shapes(graph)["data"] == (1, 3, 6, 6) and graph.given_inputs == {"data": (1, 3, 6, 6)}
    assert [str(m.value("type")) for m in graph.train_layers][:2] == ["Data", "SoftmaxWithLoss"]
