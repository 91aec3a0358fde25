from __future__ import annotations

import pytest

import deepmerge
from deepmerge.graph.check import require
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan
from deepmerge.plan.execute import run_step
from deepmerge.plan.region_choices import LEAVE, find_regions
from tests.helpers import conv, inputs, layer, network


@pytest.fixture(scope="module")
def found(models):
    folder = models / "inception_mini"
    graph = deepmerge.load(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel").graph
    steps = [candidate.step for candidate in make_plan(graph, Wishes()).candidates]
    return graph, find_regions(graph, steps, Options())


def test_regions_are_in_order_and_have_names_of_their_own(found):
    graph, regions = found
    order = {layer.name: i for i, layer in enumerate(graph.layers)}
    first = [order[region.layers[0]] for region in regions]
    assert first == sorted(first) and len({region.name for region in regions}) == len(regions)
    assert not set(regions[0].layers) & set(regions[1].layers)


def test_each_region_can_be_left_and_its_choices_have_labels_of_their_own(found):
    for region in found[1]:
        labels = [choice.label for choice in region.choices]
        assert labels[0] == LEAVE and region.choices[0].steps == ()
        assert len(labels) > 1 and len(set(labels)) == len(labels)


def test_a_chain_offers_its_beginnings_and_a_module_its_widths(found):
    by_name = {region.name: region for region in found[1]}
    chain = {choice.label for choice in by_name["conv1"].choices}
    assert {"absorb Pooling, kernel keep", "absorb Pooling+LRN, kernel cover"} <= chain
    module = {choice.label for choice in by_name["inception_3b"].choices}
    assert {"width 0.25, absorb branches, kernel keep", "width 0.75, absorb pooling+branches, kernel cover"} <= module


def test_every_choice_runs_and_keeps_the_ends_of_its_region(found):
    graph, regions = found
    for region in regions:
        for choice in region.choices:
            copy = graph.copy()
            for step in choice.steps:
                run_step(copy, step, Options())
            names = {blob.name for blob in copy.blobs}
            assert {*region.inputs, region.output} <= names, (region.name, choice.label)
            require(copy)


def test_all_regions_can_be_changed_together(found):
    graph, regions = found
    copy = graph.copy()
    for region in regions:
        for step in region.choices[-1].steps:
            run_step(copy, step, Options())


def test_what_is_kept_is_not_offered(found):
    graph, _ = found
    steps = [c.step for c in make_plan(graph, Wishes(options=Options(keep=frozenset({"LRN"})))).candidates]
    regions = find_regions(graph, steps, Options(keep=frozenset({"LRN"})))
    assert not any("LRN" in choice.label for region in regions for choice in region.choices)


def test_the_steps_of_choices_have_names_of_their_own(tmp_path):
    """Each has a folder with its new layers. The towers are called `norm`, and the second one's step not `norm_2`."""
    text = inputs((1, 3, 16, 16))
    for tower in "ab":
        text += conv(tower, "data", 8, "kernel_size: 3 pad: 1") + layer(f"norm_{tower}", "LRN", tower, "local_size: 3")
    graph = network(
        tmp_path,
        text
        + layer("both", "Concat", "norm_a norm_b")
        + conv("norm_2/conv", "both", 8, "kernel_size: 3 pad: 1")
        + layer("norm_2/lrn", "LRN", "norm_2/conv")
        + layer("fc", "InnerProduct", "norm_2/lrn", "num_output: 5"),
    )
    steps = [c.step for c in make_plan(graph, Wishes()).candidates]
    regions = find_regions(graph, steps, Options())
    choices = [choice for region in regions for choice in region.choices]
    assert max(len(choice.steps) for choice in choices) >= 2
    assert all(len({step.name for step in choice.steps}) == len(choice.steps) for choice in choices)
    names = {region.name: {step.name for choice in region.choices for step in choice.steps} for region in regions}
    assert names["norm"] >= {"norm", "norm_3"} and "norm_2" in names["norm_2"]
    assert len(set().union(*names.values())) == sum(map(len, names.values()))
