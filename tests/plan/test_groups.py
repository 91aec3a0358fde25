"""Names of steps, and the layers in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.formats.read import read_network
from deepmerge.plan.groups import groups, head, step_names
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select
from tests.helpers import conv, inputs, layer, network, relu


@pytest.mark.parametrize(
    "name, expected",
    [
        ("conv1", "conv1"),
        ("conv1/7x7_s2", "conv1"),
        ("inception_3a/5x5_reduce", "inception_3a"),
        ("res2a_branch2b", "res2a"),
        ("conv2_1/dw", "conv2_1"),
        ("/conv1", "/conv1"),
        ("_hidden", "_hidden"),
        ("", ""),
    ],
)
def test_head(name, expected):
    assert head(name) == expected


def test_a_group_is_called_as_most_of_it():
    assert step_names([["pool1/proj", "inception_3a/1x1", "inception_3a/3x3"]]) == ["inception_3a"]


def test_groups_of_one_head_are_called_as_their_first_layers():
    assert step_names([["conv1_1"], ["conv1_2", "pool1"], ["conv2_1"]]) == ["conv1_1", "conv1_2", "conv2"]


def test_a_whole_name_that_is_anothers_head_gets_a_number():
    assert step_names([["p_1"], ["p_2"], ["p_1/x"]]) == ["p_1", "p_2", "p_1_2"]


def test_taken_and_reserved_names_get_a_number():
    found = step_names([["tucker"], ["all/conv"], ["int8"]], taken={"tucker"})
    assert found == ["tucker_2", "all_2", "int8_2"]


def test_names_are_single_words_of_steps():
    assert step_names([["a, b"], [" "], [""]]) == ["a_b", "_", "step"]


LAYERS = st.text(alphabet="ab1/_-, é", max_size=5)


@settings(deadline=None, max_examples=60)
@given(st.lists(LAYERS, min_size=1, max_size=12, unique=True), st.data())
def test_any_names_are_unique_and_can_be_asked_for(layers, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(layers) - 1)))))
    groups = [g for g in (layers[a:b] for a, b in zip([0, *cuts], [*cuts, len(layers)], strict=True)) if g]
    names = step_names(groups)
    assert len(set(names)) == len(groups)
    steps = [Candidate(Step(name, ("merge_lrn",), tuple(group))) for name, group in zip(names, groups, strict=True)]
    for name, candidate in zip(names, steps, strict=True):
        assert select(steps, name) == [candidate.step]
    assert select(steps, ",".join(names)) == [c.step for c in steps]


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
    assert list(found.values()) == [*["conv1"] * 4, *["res2a"] * 4]
