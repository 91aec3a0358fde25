"""A train_val prototxt read as a deploy network; real Caffe's test net is the judge of the models' ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network, read_train_layers
from deepmerge.formats.read.data_shapes import channels_of
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.formats.write import write_pair
from deepmerge.graph.shapes import infer_shapes

DATA = """layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { crop_size: 8 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } transform_param { crop_size: 6 mean_value: [1, 2] } }
"""
NET = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" include { phase: TEST } }\n'


@pytest.fixture
def read(tmp_path):
    def network(*texts: str):
        path = tmp_path / "train_val.prototxt"
        path.write_text("".join(texts))
        return read_network(path)

    return network


def shape_of(graph, name: str = "data"):
    return next(shape for blob, shape in infer_shapes(graph).items() if blob.name == name)


@pytest.mark.pitfall("row", 16)
@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet50", "squeezenet_v1.0", "squeezenet_v1.1"])
def test_models_train_val_and_deploy_are_one_network(models, name):
    deploy, derived = (read_network(models / name / f"{part}.prototxt") for part in ("deploy", "train_val"))
    shapes = [{b.name: s[1:] for b, s in infer_shapes(graph).items()} for graph in (deploy, derived)]
    assert shapes[0] == shapes[1]
    layers = [[x for x in graph.layers if x.type not in ("Input", "BatchNorm")] for graph in (deploy, derived)]
    first, second = ([(x.name, x.type, x.params) for x in part] for part in layers)
    assert (
        first == second
    )  # BatchNorm says use_global_stats: true in one, and nothing, which means the same, in the other
    assert [b.name for b in derived.outputs] == ["prob"]


@pytest.mark.pitfall("row", 16)
def test_prob_is_the_main_head(models):
    graph = read_network(models / "googlenet/train_val.prototxt")
    (prob,) = graph.outputs
    assert prob.name == prob.producer.name == "prob" and prob.producer.bottom.name == "loss3/classifier"
    assert len(graph.warnings) == 1
    assert graph.warnings[0].startswith(
        "left out of the deploy network, as they lead to no main output: loss1/ave_pool, loss1/conv"
    )


@pytest.mark.pitfall("row", 16)
def test_data_and_loss(read):
    graph = read(DATA, NET, LOSS, ACCURACY)
    assert [(layer.name, layer.type) for layer in graph.layers] == [
        ("data", "Input"), ("conv", "Convolution"), ("fc", "InnerProduct"), ("prob", "Softmax"),
    ]  # fmt: skip
    assert shape_of(graph) == (1, 2, 6, 6) and graph.warnings == []
    assert [str(m.value("type")) for m in graph.train_layers] == ["Data", "Data", "SoftmaxWithLoss", "Accuracy"]


@pytest.mark.pitfall("row", 16)
def test_what_is_derived_runs_and_is_what_the_loss_sees(read, tmp_path, worker):
    loss = LOSS.replace('top: "loss"', 'top: "loss" softmax_param { axis: -1 }')
    graph = read(DATA, NET, loss)
    write_pair(graph, tmp_path / "deploy.prototxt", None)
    with worker.load(tmp_path / "deploy.prototxt") as session:
        out = session.forward({"data": np.ones((1, 2, 6, 6))}, ["fc", "prob"])
    expected = np.exp(out["fc"]) / np.exp(out["fc"]).sum()
    np.testing.assert_allclose(out["prob"], expected, rtol=1e-5)
    assert graph.layer("prob").params.axis == -1


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        ('layer { name: "s" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "label" top: "s" }', ("prob", "Sigmoid")),
        ('layer { name: "e" type: "EuclideanLoss" bottom: "label" bottom: "fc" top: "e" }', ("fc", "InnerProduct")),
        (ACCURACY, ("fc", "InnerProduct")),
        ("", ("fc", "InnerProduct")),
        ('layer { name: "p" type: "Softmax" bottom: "fc" top: "p" }' + LOSS, ("p", "Softmax")),
        ('layer { name: "p" type: "Softmax" bottom: "fc" top: "p" }' + LOSS + ACCURACY.replace('"fc"', '"p"'), ("prob", "Softmax")),
        ('layer { name: "prob" type: "ReLU" bottom: "fc" top: "prob" }' + LOSS.replace('"fc"', '"prob"'), ("loss/prob", "Softmax")),
        ('layer { name: "l" type: "Slice" bottom: "label" top: "a" top: "b" }' + LOSS.replace('"label"', '"a"'), ("prob", "Softmax")),
        ('layer { name: "quiet" type: "Silence" bottom: "label" }' + LOSS, ("prob", "Softmax")),
    ],
)  # fmt: skip
def test_ends(read, loss, last):
    graph = read(DATA, NET, loss)
    (output,) = graph.outputs
    assert (output.producer.name, output.producer.type) == last
    assert [blob.name for blob in graph.inputs] == ["data"]


def test_several_main_heads(read):
    fc2, loss2 = (
        NET.splitlines()[1].replace('"fc"', '"fc2"'),
        LOSS.replace('"fc"', '"fc2"').replace('"loss"', '"loss2"'),
    )
    graph = read(DATA, NET, fc2, LOSS, loss2)
    assert [blob.name for blob in graph.outputs] == ["prob", "loss2/prob"] and graph.warnings == []


def test_labels_from_a_layer_of_their_own(read):
    label = 'layer { name: "label" type: "Data" top: "label" }\n'
    image = 'layer { name: "data" type: "ImageData" top: "data" image_data_param { new_height: 7 new_width: 5 is_color: false } }\n'
    graph = read(label, image, NET, LOSS)
    assert [layer.name for layer in graph.layers] == ["data", "conv", "fc", "prob"] and shape_of(graph) == (1, 1, 7, 5)


CHANNELS = {
    "transform_param { crop_size: 6 force_gray: true }": 1,
    "transform_param { crop_size: 6 force_color: true }": 3,
    "transform_param { crop_size: 6 mean_value: 1 mean_value: 2 mean_value: 3 mean_value: 4 }": 4,
    "transform_param { crop_size: 6 mean_value: 1 }": 3,
    "transform_param { crop_size: 6 mean_file: 'mean' }": 3,
}


@pytest.mark.parametrize(("fields", "channels"), CHANNELS.items())
def test_channels(read, fields, channels):
    graph = read(f'layer {{ name: "data" type: "Data" top: "data" top: "label" {fields} }}', NET, LOSS)
    assert shape_of(graph)[1] == channels
    told = ["layer 'data' (Data) does not say how many channels its images have; 3 are assumed"]
    assert graph.warnings == (told if "mean_value: 1 }" in fields or "mean_file" in fields else [])


def test_memory_data(read):
    fields = "memory_data_param { batch_size: 4 channels: 2 height: 7 width: 6 }"
    assert shape_of(read(f'layer {{ name: "m" type: "MemoryData" top: "data" top: "label" {fields} }}', NET, LOSS)) == (
        1,
        2,
        7,
        6,
    )


def test_weights_know_the_channels(models, tmp_path):
    folder = models / "inception_mini"
    text = (folder / "train_val.prototxt").read_text().replace("transform_param {", "transform_param { crop_size: 32")
    path = tmp_path / "train_val.prototxt"
    path.write_text(re.sub(r"mean_value: *[0-9.]+", "", text))
    graph = read_network(path, folder / "inception_mini.caffemodel")
    assert shape_of(graph)[1] == 3 and not any("assumed" in note for note in graph.warnings)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('layer { name: "data" type: "Data" top: "data" top: "label" }',
         "layer 'data' (Data) does not say how large its images are (no crop_size, no new_height and new_width); give its size: --input data=1,3,H,W"),
        ('layer { name: "h" type: "HDF5Data" top: "data" top: "label" }',
         "layer 'h' (HDF5Data) does not say how large its images are; give its size: --input data=1,3,H,W"),
    ],
)  # fmt: skip
def test_images_of_unknown_size(read, tmp_path, data, message):
    with pytest.raises(ReadError) as caught:
        read(data, NET, LOSS)
    assert str(caught.value) == f"{tmp_path / 'train_val.prototxt'}:1:1: {message}"


def test_a_second_input_of_unknown_shape(read):
    data = 'layer { name: "h" type: "Data" top: "data" top: "label" top: "meta" transform_param { crop_size: 6 } }'
    join = 'layer { name: "join" type: "Concat" bottom: "fc" bottom: "meta" top: "join" }'
    with pytest.raises(
        ReadError, match=r"layer 'h' \(Data\) does not say which shape 'meta' has, and the network reads it"
    ):
        read(data, NET, join, LOSS.replace('"fc"', '"join"'))


def test_data_alone(read):
    with pytest.raises(ReadError, match="has data layers, but neither a loss nor an output after them"):
        read(DATA)


def test_nothing_for_the_test_phase(read):
    with pytest.raises(ReadError, match=r"has no layer for the TEST phase; give the deploy\.prototxt"):
        read(DATA.splitlines()[0])


@pytest.mark.pitfall("row", 16)
def test_train_layers_of_another_file(read, tmp_path):
    graph = read('input: "data" input_shape { dim: [1, 2, 6, 6] }\n', NET)
    path = tmp_path / "other.prototxt"
    aux = LOSS.replace('"loss"', '"aux"').replace('"fc"', '"aux/fc"')
    fc = NET.splitlines()[1].replace('"fc"', '"aux/fc"')
    path.write_text(DATA + NET + fc + aux + LOSS + ACCURACY)
    assert [str(m.value("name")) for m in read_train_layers(path, graph)] == [
        "data",
        "data",
        "aux/fc",
        "aux",
        "loss",
        "acc",
    ]
    path.write_text('input: "data" input_shape { dim: [1, 2, 6, 6] }\n' + NET)
    with pytest.raises(ReadError) as caught:
        read_train_layers(path, graph)
    assert (
        str(caught.value)
        == f"{path}: has no data layer; --train-val needs the prototxt that the network was trained with"
    )


def test_learning_rates_of_another_file(read, tmp_path):
    """A frozen layer stays frozen; rates that the deploy file gives itself win."""
    given = NET.replace('top: "fc"', 'top: "fc" param { lr_mult: 3 }')
    graph = read('input: "data" input_shape { dim: [1, 2, 6, 6] }\n', given)
    path = tmp_path / "other.prototxt"
    path.write_text(DATA + NET.replace('top: "', 'param { lr_mult: 0 } top: "') + LOSS)
    read_train_layers(path, graph)
    rates = {
        layer.name: [str(s.value("lr_mult")) for s in layer.param_specs]
        for layer in graph.layers
        if layer.type != "Input"
    }
    assert rates.pop("fc") == ["3"] and rates and all(found == ["0"] for found in rates.values())


def layer(name: str, kind: str, bottom: str = "data", more: str = "") -> str:
    return f"layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{name}' {more} }}\n"


def stored(name: str, *shape: int) -> StoredLayer:
    return StoredLayer(name, "", [np.zeros(shape, np.float32)])


CONV = layer("conv", "Convolution", more="convolution_param { num_output: 4 kernel_size: 3 group: 2 }")


@pytest.mark.parametrize(
    ("text", "weights", "channels"),
    [
        (CONV, [stored("conv", 4, 3, 3, 3)], 6),
        (CONV, [stored("other", 4, 3, 3, 3)], None),
        (CONV, [StoredLayer("conv")], None),
        (layer("up", "Deconvolution"), [stored("up", 5, 2, 3, 3)], 5),
        (layer("bn", "BatchNorm"), [stored("bn", 7)], 7),
        (layer("bn", "Scale"), [stored("bn", 1, 1, 1, 7)], 7),
        (
            layer("pow", "Power") + layer("lrn", "LRN", "pow") + CONV.replace("'data'", "'lrn'"),
            [stored("conv", 4, 1, 3, 3)],
            2,
        ),
        (layer("fc", "InnerProduct"), [stored("fc", 10, 2 * 5 * 4)], 2),
        (layer("fc", "InnerProduct"), [stored("fc", 10, 41)], None),
        (layer("pool", "Pooling") + layer("fc", "InnerProduct", "pool"), [stored("fc", 10, 40)], None),
        (layer("flat", "Flatten") + CONV.replace("'data'", "'flat'"), [stored("conv", 4, 3, 3, 3)], None),
    ],
)
def test_channels_by_weights(text, weights, channels):
    assert channels_of("data", (5, 4), parse(text).values("layer"), weights, "x") == channels
