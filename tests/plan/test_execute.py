from __future__ import annotations

import pytest

from deepmerge.errors import PlanError
from deepmerge.passes.support.base import Change, Options
from deepmerge.plan.execute import StepResult, run_cleanup, run_recipe, run_step
from deepmerge.plan.recipe import Recipe, Step
from tests.helpers import conv, inputs, layer, relu

# conv1 → ReLU → LRN → pooling → conv2 → BatchNorm → Scale → Dropout
NET = inputs((1, 3, 17, 13)) + conv("conv1", "data", 8, "kernel_size: 3 stride: 1 pad: 1") + relu("conv1")
NET += layer("norm1", "LRN", "conv1") + layer("pool1", "Pooling", "norm1", "pool: MAX kernel_size: 3 stride: 2")
NET += (
    conv("conv2", "pool1", 4) + layer("bn2", "BatchNorm", "conv2") + layer("scale2", "Scale", "bn2", "bias_term: true")
)
NET += layer("drop", "Dropout", "scale2")

MERGE = Step("conv1", ("merge_lrn", "merge_pooling"), ("norm1", "pool1"))
FOLD = Step("conv2", ("fold_batchnorm", "fold_scale"), ("bn2", "scale2"), exact=True)


def result(*changes: tuple[str, str]) -> StepResult:
    """Changes given as (merged, into), names between blanks."""
    step = Step("s", ("p",), ("x",))
    return StepResult(step, [Change("p", "x", True, tuple(a.split()), tuple(b.split())) for a, b in changes])


def test_merged_are_layers_from_before_the_step_and_into_those_behind_it():
    one = result(("conv norm", "conv"), ("conv pool", "conv_merged"), ("a conv_merged", "b c"))
    assert one.merged == ["conv", "norm", "pool", "a"]
    assert one.into == ["b", "c"]


def test_into_leaves_out_what_a_later_change_took_up():
    assert result(("a", "a"), ("a b", "b")).into == ["b"]
    assert result(("bn", "conv"), ("scale", "conv")).into == ["conv"]


def test_a_step_runs_its_layers_through_its_passes(read):
    graph = read(NET)
    done = run_step(graph, MERGE)
    assert done.merged == ["conv1", "norm1", "pool1"] and done.into == ["conv1"] and not done.exact
    assert {"norm1", "pool1"}.isdisjoint(one.name for one in graph.layers)
    assert [one.name for one in graph.layers if one.step] == ["conv1"]
    assert graph.layer("conv1").step == "conv1"


def test_exact_steps_leave_no_mark(read):
    graph = read(NET)
    done = run_step(graph, FOLD)
    assert done.exact and done.into == ["conv2"]
    assert graph.layer("conv2").step == ""


def test_the_order_of_the_layers_in_a_step_makes_no_difference(read):
    graph, other = read(NET), read(NET)
    run_step(graph, MERGE)
    run_step(other, Step("conv1", ("merge_pooling", "merge_lrn"), ("pool1", "norm1")))
    assert [one.name for one in graph.layers] == [one.name for one in other.layers]
    assert graph.layer("conv1").params == other.layer("conv1").params


@pytest.mark.parametrize(
    "step, expected",
    [
        (
            Step("s", ("merge_lrn",), ("norm",)),
            "step 's': the network 'net' has no layer 'norm' at this point; did you mean 'norm1'?",
        ),
        (
            Step("s", ("merge_lrn",), ("pool1",)),
            "step 's' cannot be done: merge_lrn does not apply to 'pool1'; remove it from the step",
        ),
        (Step("s", ("merge_lrn",), ("norm1", "conv2")), "step 's' cannot be done: merge_lrn does not apply to 'conv2'"),
        (
            Step("s", ("merge_pooling",), ("pool1",)),
            "step 's' cannot be done: merge_pooling refuses 'pool1': 'norm1' (LRN)",
        ),
        (
            Step("s", ("merge_lrn",), ("norm1",), exact=True),
            "step 's' says exact = true, but merge_lrn at 'norm1' is not exact",
        ),
        (
            Step("s", ("merge_lrn",), ("norm",), file="r.toml"),
            "r.toml: step 's': the network 'net' has no layer 'norm'",
        ),
        (
            Step("s", ("decompose_tucker",), ("bn2",)),
            "step 's' cannot be done: decompose_tucker does not apply to 'bn2'",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(read, step, expected):
    with pytest.raises(PlanError) as raised:
        run_step(read(NET), step)
    assert str(raised.value).startswith(expected), raised.value
    assert "\n" not in str(raised.value)


def test_a_layer_that_is_kept_is_refused_with_that_reason(read):
    with pytest.raises(PlanError, match="merge_lrn refuses 'norm1': 'conv1' .Convolution. is kept, as asked"):
        run_step(read(NET), MERGE, Options(keep=frozenset({"conv1"})))


def test_a_step_a_second_time_names_what_is_gone(read):
    graph = read(NET)
    run_step(graph, MERGE)
    with pytest.raises(PlanError, match="has no layer 'norm1' at this point"):
        run_step(graph, MERGE)


def test_cleanup_is_the_recipes_own(read):
    graph = read(NET)
    assert run_cleanup(graph, Recipe("net", cleanup=())).changes == []
    assert [change.layer for change in run_cleanup(graph, Recipe("net")).changes] == ["drop"]
    assert run_cleanup(graph, Recipe("net")).changes == []


def test_exact_steps_come_first_with_cleanup_on_both_sides(read):
    graph = read(NET + layer("one", "Power", "drop"))
    cleanup: list[Change] = []
    seen = [(index, done.step.name) for index, done in run_recipe(graph, Recipe("net", steps=(MERGE, FOLD)), cleanup)]
    assert seen == [(2, "conv2"), (1, "conv1")]
    assert sorted(change.layer for change in cleanup) == ["drop", "one"]
    assert [one.name for one in graph.layers] == ["input", "conv1", "conv1/relu", "conv2"]


def test_a_layer_that_an_earlier_step_made_can_be_named(read):
    graph = read(NET)
    cover = Step("conv1", MERGE.passes, MERGE.layers, options={"kernel": "cover"})
    (first, second) = [
        done
        for _, done in run_recipe(
            graph,
            Recipe(
                "net", steps=(cover, Step("t", ("decompose_tucker",), ("conv1_merged",), options={"rank": "ratio:0.3"}))
            ),
        )
    ]
    assert first.into == ["conv1_merged"]
    assert second.merged == ["conv1_merged"] and len(second.into) == 3
