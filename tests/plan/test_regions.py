from __future__ import annotations

from deepmerge.plan.regions import regions
from tests.helpers import conv, inputs, layer, relu


def named(graph) -> list[list[str]]:
    """The layers' names, region by region."""
    groups: dict[int, list[str]] = {}
    for one, number in regions(graph).items():
        groups.setdefault(number, []).append(one.name)
    assert list(groups) == sorted(groups)
    return [groups[number] for number in groups]


def test_each_convolution_of_a_chain_begins_a_region(read):
    text = inputs((1, 3, 8, 8)) + conv("a", "data", 4) + layer("bn", "BatchNorm", "a") + relu("bn")
    text += conv("b", "bn", 4) + layer("fc", "InnerProduct", "b", "num_output: 2") + layer("prob", "Softmax", "fc")
    assert named(read(text, None)) == [["input"], ["a", "bn", "bn/relu"], ["b"], ["fc", "prob"]]


def test_what_stands_before_the_first_convolution_goes_with_the_input(read):
    text = inputs((1, 3, 8, 8)) + layer("mean", "Bias", "data") + conv("a", "mean", 4)
    assert named(read(text, None)) == [["input", "mean"], ["a"]]


def test_branches_are_one_region_up_to_where_they_meet(read):
    text = inputs((1, 3, 8, 8)) + conv("a", "data", 4)
    text += (
        conv("b1", "a", 4) + conv("b2", "a", 4) + layer("b2bn", "BatchNorm", "b2") + layer("sum", "Eltwise", "b1 b2bn")
    )
    text += relu("sum") + conv("c", "sum", 2)
    assert named(read(text, None)) == [["input"], ["a"], ["b1", "b2", "b2bn", "sum", "sum/relu"], ["c"]]


def test_an_input_that_is_read_at_the_end_joins_nothing_before(read):
    text = (
        inputs((1, 3, 8, 8), (1, 4, 8, 8))
        + conv("a", "data", 4)
        + conv("b", "a", 4)
        + layer("sum", "Eltwise", "b data1")
    )
    assert named(read(text, None)) == [["input"], ["a"], ["b", "sum"]]


def test_two_outputs_leave_their_region_open(read):
    text = inputs((1, 3, 8, 8)) + conv("a", "data", 4) + conv("b", "a", 4) + conv("c", "a", 4)
    assert named(read(text, None)) == [["input"], ["a"], ["b", "c"]]


def test_googlenet_falls_into_its_modules(model):
    groups = named(model("googlenet"))
    modules = [group for group in groups if any(name.endswith("/output") for name in group)]
    assert len(modules) == 9
    for group in modules:
        assert {name.split("/")[0] for name in group if not name.startswith("pool")} == {group[0].split("/")[0]}


def test_resnet_falls_into_its_blocks(model):
    groups = named(model("resnet50"))
    blocks = [group for group in groups if any("branch" in name for name in group)]
    assert [next(n for n in group if n.startswith("res")).split("_")[0] for group in blocks] == [
        f"res{stage}{letter}" for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3)) for letter in "abcdef"[:count]
    ]
