"""Costs against what was published and what real Caffe logs."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest

from deepmerge.formats.read import read_network
from deepmerge.graph import params as typed
from deepmerge.graph.costs import (
    layer_costs,
    layer_macs,
    macs,
    non_tensor_share,
    param_count,
    shapes_of_one,
    storage_bytes,
    summary,
)
from deepmerge.graph.shapes import infer_shapes
from tests.graph.graph_nets import NETS, convolution, data, layer, one_layer, shape

# parameters as published (BatchNorm's statistics aside), and millions of multiply-adds, published to three digits
PUBLISHED = {
    "alexnet": (60_965_224, 724),
    "googlenet": (6_998_552, 1580),
    "squeezenet_v1.0": (1_248_424, 861),
    "squeezenet_v1.1": (1_235_496, 388),
    "resnet50": (25_557_032, 3860),
    "resnet152": (60_192_808, 11300),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts_come_from_the_definitions_alone(name, models):
    graph = read_network(models / name / "deploy.prototxt")
    params, millions = PUBLISHED[name]
    assert param_count(graph) == params
    assert macs(graph, infer_shapes(graph)) / 1e6 == pytest.approx(millions, rel=0.002)


def test_counts_with_weights_are_counts_without(zoo):
    for name in ("inception_mini", "resnet50"):
        bare = read_network(zoo / f"{name}.prototxt")
        assert summary(read_network(zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel")) == summary(bare)


LOAD = "import sys, caffe; [caffe.Net(path, caffe.TEST) for path in sys.argv[1:]]"


def test_caffe_bytes_are_what_real_caffe_logs(caffe_python, models, tmp_path):
    paths = [models / name / "deploy.prototxt" for name in PUBLISHED]
    for name in ("axes", "elementwise", "labels"):
        paths.append(tmp_path / f"{name}.prototxt")
        paths[-1].write_text(NETS[name](), encoding="utf-8")
    env = {**os.environ, "GLOG_minloglevel": "0", "GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([caffe_python, "-c", LOAD, *paths], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    nets = done.stderr.split("Initializing net from parameters")[1:]
    logged = [int(re.findall(r"Memory required for data: (\d+)", net)[-1]) for net in nets]
    graphs = [read_network(path) for path in paths]
    assert [summary(graph, infer_shapes(graph))["activation_bytes"]["caffe"] for graph in graphs] == logged


def bytes_of(graph) -> dict[str, int]:
    return summary(graph)["activation_bytes"]


def test_bytes_of_a_chain(read):
    """Two readers of x (one Split with two tops); y in place; z is an output."""
    graph = read(
        data(10, 3, 4, 5)
        + convolution("num_output: 6 kernel_size: 1")
        + layer("ReLU", "", "relu", "y", "y")
        + convolution("num_output: 6 kernel_size: 1", "z")
        + layer("Eltwise", "", "sum", "y z")
    )
    x, y = 4 * 60, 4 * 120
    assert bytes_of(graph) == {"caffe": 3 * x + 4 * y, "unique": x + 3 * y, "planned": x + 2 * y}


def test_planned_works_in_place_only_where_nothing_is_lost(read):
    one = 4 * 2 * 30
    image = data(1, 2, 5, 6)
    chain = image + layer("ReLU") + layer("Power", "", "z", "y") + layer("Dropout", "", "u", "z")
    assert bytes_of(read(chain))["planned"] == one
    assert bytes_of(read(chain))["unique"] == 4 * one
    later = image + layer("ReLU") + layer("Power", "", "z", "y") + layer("Eltwise", "", "u", "z x")
    assert bytes_of(read(later))["planned"] == 2 * one
    moved = image + layer("LRN") + layer("LRN", "", "z", "y") + layer("LRN", "", "u", "z")
    assert bytes_of(read(moved))["planned"] == 2 * one
    joined = image + layer("ReLU") + layer("Concat", "", "z", "y y")
    assert bytes_of(read(joined))["planned"] == 3 * one


def test_planned_knows_views(read):
    one = 4 * 2 * 30
    image = data(1, 2, 5, 6)
    view = image + layer("Flatten") + layer("ReLU", "", "z", "y")
    assert bytes_of(read(view)) == {"caffe": 3 * one, "unique": 3 * one, "planned": one}
    # x is read again behind the ReLU on its view, so the ReLU must not write over it
    kept = view + layer("LRN", "", "u")
    assert bytes_of(read(kept))["planned"] == 3 * one
    split = (
        image + layer("Split", "", "split", "x", "a b") + layer("ReLU", "", "c", "a") + layer("Eltwise", "", "d", "b c")
    )
    assert bytes_of(read(split)) == {"caffe": 5 * one, "unique": 3 * one, "planned": 2 * one}


def test_outputs_stay(read):
    """y is read by nobody: it is held while the larger z and u are made."""
    graph = read(
        data(1, 2, 5, 6) + layer("LRN") + layer("Tile", "tile_param { tiles: 4 }", "z") + layer("LRN", "", "u", "z")
    )
    assert bytes_of(graph)["planned"] == 4 * 60 * (1 + 4 + 4)


def test_macs_count_each_weight_once_for_each_position(read):
    graph = read(
        data(7, 6, 9, 12)
        + convolution("num_output: 4 group: 2 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_w: 1", "conv")
        + convolution("num_output: 4 group: 2 kernel_h: 3 kernel_w: 2 stride: 2", "up", kind="Deconvolution")
        + layer("InnerProduct", "inner_product_param { num_output: 5 }", "fc")
        + layer("InnerProduct", "inner_product_param { num_output: 5 axis: 2 transpose: true }", "fc2")
        + layer("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }", "fc3")
        + layer("Pooling", "pooling_param { kernel_size: 3 }", "pool")
    )
    shapes = infer_shapes(graph)
    counts = {found.name: layer_macs(found, shapes) for found in graph.layers}
    assert counts == {
        "x": 0,
        "conv": (4 * 13) * 4 * 3 * 3 * 2,
        "up": (9 * 12) * 6 * 2 * 3 * 2,
        "fc": 5 * 6 * 9 * 12,
        "fc2": 6 * 5 * 9 * 12,
        "fc3": 6 * 9 * 5 * 12,
        "pool": 0,
    }
    assert macs(graph, infer_shapes(graph, batch=1)) == macs(graph, shapes) == sum(counts.values())


def test_shared_parameters_count_once_and_are_stored_by_every_sharer(read):
    spec = 'param { name: "w" } param { name: "b" }'
    body = "inner_product_param { num_output: 5 }"
    graph = read(data(1, 5) + layer("InnerProduct", spec + body, "a") + layer("InnerProduct", spec + body, "b", "a"))
    assert param_count(graph) == 30
    assert storage_bytes(graph) == 4 * 60
    assert [row.params for row in layer_costs(graph)] == [0, 30, 0]
    half = read(
        data(1, 5)
        + layer("InnerProduct", 'param { name: "w" }' + body, "a")
        + layer("InnerProduct", 'param { name: "w" }' + body, "b", "a")
    )
    assert param_count(half) == 35


def test_batch_norm_is_stored_but_not_learned(read):
    graph = read(data(1, 6, 4, 5) + layer("BatchNorm") + layer("Scale", "scale_param { bias_term: true }", "z", "y"))
    assert (param_count(graph), storage_bytes(graph)) == (12, 4 * (6 + 6 + 1 + 12))


def test_own_weights_count_as_they_are():
    graph = one_layer("Interp", None, (1, 4, 5, 6))
    graph.layer("y").weights = [np.zeros((3, 2), np.float32)]
    assert (param_count(graph), storage_bytes(graph)) == (6, 24)
    assert bytes_of(graph) == {"caffe": 480, "unique": 480, "planned": 480}


def test_one_image_where_the_batch_is_written_into_the_network(read):
    """The Reshape does not take one image; the axes of the declared batch are cut instead."""
    text = (
        data(10, 6, 4, 5) + layer("Reshape", f"reshape_param {{ {shape(10, 40, -1)} }}") + layer("ReLU", "", "z", "y")
    )
    shapes = {blob.name: found for blob, found in shapes_of_one(read(text)).items()}
    assert shapes == {"x": (1, 6, 4, 5), "y": (1, 40, 3), "z": (1, 40, 3)}
    plain = {blob.name: found for blob, found in shapes_of_one(read(data(10, 6, 4, 5) + layer("Flatten"))).items()}
    assert plain == {"x": (1, 6, 4, 5), "y": (1, 120)}


def test_summary_is_the_reports(models):
    found = summary(read_network(models / "alexnet" / "deploy.prototxt"))
    assert list(found) == ["layers", "layer_types", "params", "macs", "storage_bytes", "activation_bytes"]
    assert found["layers"] == sum(found["layer_types"].values()) == 23
    assert list(found["layer_types"].items()) == [
        ("Convolution", 5), ("Dropout", 2), ("InnerProduct", 3), ("LRN", 2), ("Pooling", 3), ("ReLU", 7),
        ("Softmax", 1),
    ]  # fmt: skip
    assert found["storage_bytes"] == 4 * found["params"]


def test_tensor_layers(models):
    graph = read_network(models / "squeezenet_v1.1" / "deploy.prototxt")
    assert {found.type for found in graph.layers if found.kind.tensor} == {"Convolution"}
    assert non_tensor_share(graph) == pytest.approx(40 / 66)
    assert non_tensor_share(one_layer("InnerProduct", typed.InnerProduct(num_output=1), (1, 2))) == 0.0


def test_rows_add_up_to_the_summary(models):
    graph = read_network(models / "googlenet" / "deploy.prototxt")
    rows, total = layer_costs(graph), summary(graph)
    assert (sum(row.params for row in rows), sum(row.macs for row in rows)) == (total["params"], total["macs"])
    conv = next(row for row in rows if row.name == "conv1/7x7_s2")
    assert conv.tops == ((1, 64, 112, 112),) and conv.tensor
    assert (conv.params, conv.macs, conv.bytes) == (9472, 112 * 112 * 64 * 147, 4 * 64 * 112 * 112)
