from __future__ import annotations

from deepmerge.formats.read import read_network
from deepmerge.page.groups import groups
from tests.helpers import conv, inputs, layer, network, relu


def test_layers_without_tensors_go_with_what_they_read(tmp_path):
    text = (
        inputs((1, 3, 16, 12))
        + conv("conv1/7x7", "data", 4)
        + layer("bn_conv1", "BatchNorm", "conv1/7x7")
        + relu("bn_conv1", "conv1/relu")
        + layer("pool1", "Pooling", "bn_conv1", "kernel_size: 2")
        + conv("res2a_branch1", "pool1", 4)
        + conv("res2a_branch2", "pool1", 4)
        + layer("res2a", "Eltwise", "res2a_branch1 res2a_branch2")
        + layer("pool5", "Pooling", "res2a", "kernel_size: 2")
    )
    found = groups(network(tmp_path, text, None))
    assert found == ["input", *["conv1"] * 4, *["res2a"] * 4]


def test_the_parts_of_googlenet_are_those_of_its_paper(models):
    found = list(dict.fromkeys(groups(read_network(models / "googlenet" / "deploy.prototxt"))))
    modules = [f"inception_{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    assert found == ["data", "conv1", "conv2", *modules, "loss3"]
