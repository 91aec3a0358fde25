from __future__ import annotations

import re

from deepmerge.formats.read import read_network
from deepmerge.measure.profile.groups import groups, place_of, places
from tests.helpers import conv, inputs, layer, network, relu


def steps(graph):
    found: dict[str, list[str]] = {}
    for name, step in groups(graph).items():
        found.setdefault(step, []).append(name)
    return found


def test_googlenets_steps_are_the_papers(models):
    found = steps(read_network(models / "googlenet/deploy.prototxt"))
    modules = [f"inception_{name}" for name in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()]
    assert list(found) == ["conv1", "conv2", *modules, "loss3"]
    assert found["conv1"] == ["conv1/7x7_s2", "conv1/relu_7x7", "pool1/3x3_s2", "pool1/norm1"]
    assert found["inception_3b"][-1] == "pool3/3x3_s2" and found["loss3"] == ["loss3/classifier", "prob"]


def test_others(models):
    assert list(steps(read_network(models / "alexnet/deploy.prototxt"))) == [f"conv{n}" for n in range(1, 6)] + [
        "fc6",
        "fc7",
        "fc8",
    ]
    resnet = steps(read_network(models / "resnet50/deploy.prototxt"))
    assert list(resnet)[:3] == ["conv1", "res2a", "res2b"] and len(resnet) == 18
    assert len(steps(read_network(models / "squeezenet_v1.1/deploy.prototxt"))) == 10


def test_names_only_label(models):
    """The same network under numbers falls into steps of the same layers, but for neighbours joined by a name."""
    graph = read_network(models / "resnet50/deploy.prototxt")
    shapes = [len(names) for names in steps(graph).values()]
    for number, one in enumerate(graph.layers):
        one.name = f"n{number}"
    assert [len(names) for names in steps(graph).values()] == shapes


def test_names_with_underscores_are_not_joined(tmp_path):
    text = inputs((1, 3, 9, 8)) + conv("conv_1", "data", 4) + relu("conv_1") + conv("conv_2", "conv_1", 4)
    assert steps(network(tmp_path, text)) == {"conv_1": ["conv_1", "conv_1/relu"], "conv_2": ["conv_2"]}


def test_places(tmp_path, real_caffe):
    text = (
        inputs((1, 3, 9, 8))
        + conv("c", "data", 4)
        + relu("c", "r")
        + layer("p", "Pooling", "c", "kernel_size: 2")
        + layer("n", "LRN", "c")
    )
    graph = network(tmp_path, text)
    known = places(graph)
    with real_caffe.load(graph) as session:
        timed = [(name, kind) for name, kind, _ in session.time_layers(1, 0)]
    splits = [name for name, kind in timed if kind == "Split"]
    assert len(splits) == 1 and re.fullmatch("c_r_0_split", splits[0])
    assert all(name in known for name, _ in timed)
    assert known[splits[0]].group == known["c"].group and not known[splits[0]].tensor
    assert known["c"].tensor and not known["n"].tensor and known["data" if "data" in known else "input"].group == ""
    assert place_of("reorder", "Convolution", known).tensor and not place_of("reorder", "Raster", known).tensor
