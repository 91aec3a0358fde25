from __future__ import annotations

import pytest

from deepmerge.errors import PlanError
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, joined, select


def step(name: str, passes=("merge_branches",), exact=False, **options) -> Step:
    return Step(name, passes, (f"{name}/concat",), exact, options)


NAMES = "conv1 conv2 inception_3a inception_3b inception_4a".split()
PLAN = [Candidate(step(name), "more MACs" if name == "inception_3b" else "") for name in NAMES]


def names(wanted: str, plan=PLAN, folds=()) -> list[str]:
    return [one.name for one in select(plan, wanted, folds)]


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("all", ["conv1", "conv2", "inception_3a", "inception_4a"]),
        ("conv2", ["conv2"]),
        ("inception_4a, conv1,,conv1", ["conv1", "inception_4a"]),
        ("inception_3b", ["inception_3b"]),
        ("all,inception_3b", NAMES),
        ("conv1-conv2", ["conv1-conv2"]),
        ("conv1-2", ["conv1-2"]),
        ("inception_3a-4a", ["inception_3a-4a"]),
        ("all,conv1-2", ["conv1-2", "inception_3a", "inception_4a"]),
        ("conv1-2,all", ["conv1-2", "inception_3a", "inception_4a"]),
        ("conv1-conv1", ["conv1"]),
        ("", []),
    ],
)
def test_words(wanted, expected):
    assert names(wanted) == expected


def test_a_range_is_one_step_of_all_in_it_but_costly_ones_inside():
    (one,) = select(PLAN, "conv2-inception_4a")
    assert one.layers == ("conv2/concat", "inception_3a/concat", "inception_4a/concat")


def test_a_costly_step_at_a_ranges_end_is_named_and_so_taken():
    (one,) = select(PLAN, "inception_3a-3b")
    assert one.layers == ("inception_3a/concat", "inception_3b/concat")
    (one,) = select([Candidate(step("a"), "more"), Candidate(step("b"), "more")], "a-b")
    assert one.layers == ("a/concat", "b/concat")


def test_names_with_hyphens_come_before_ranges():
    plan = [Candidate(step(name)) for name in ("a", "a-b", "b", "c-d")]
    assert names("a-b", plan) == ["a-b"]
    assert select(plan, "a-c-d")[0].layers == ("a/concat", "a-b/concat", "b/concat", "c-d/concat")
    assert select(plan, "a-b-c-d")[0].layers == ("a-b/concat", "b/concat", "c-d/concat")


def test_exact_steps_run_whether_asked_for_or_not():
    assert names("res2a", folds=["res2a"]) == []
    assert names("res2a,conv2", folds=["res2a"]) == ["conv2"]
    assert names("conv1", folds=["conv1"]) == ["conv1"]


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("conv3", "--steps: there is no step 'conv3'; did you mean 'conv2' or 'conv1'?"),
        ("inception_3c", "--steps: there is no step 'inception_3c'; did you mean 'inception_3b' or 'inception_3a'"),
        ("zzz", f"--steps: there is no step 'zzz'; there are {', '.join(NAMES)}"),
        ("conv2-conv1", "--steps: 'conv2-conv1' runs backwards: 'conv1' comes before 'conv2' in the network"),
        ("conv1-5", "--steps: there is no step 'conv1-5'; did you mean 'conv1'"),
        ("conv1-", "--steps: there is no step 'conv1-'"),
        ("conv1-2,conv2", "--steps: 'conv1-2' and 'conv2' both contain 'conv2'; name it once"),
    ],
)
def test_words_that_will_not_do(wanted, expected):
    with pytest.raises(PlanError) as raised:
        select(PLAN, wanted)
    assert str(raised.value).startswith(expected)


def test_a_plan_without_steps():
    assert select([], "all") == []
    with pytest.raises(PlanError, match="there is no step 'conv1'; there are none"):
        select([], "conv1")


def test_joined_steps_are_exact_only_where_all_are():
    one = joined(
        [step("a", ("merge_lrn",), True, init="trained"), step("b", ("merge_lrn", "merge_pooling"), kernel="keep")],
        "a-b",
    )
    assert one == Step(
        "a-b", ("merge_lrn", "merge_pooling"), ("a/concat", "b/concat"), False, {"init": "trained", "kernel": "keep"}
    )
    assert joined([step("a", exact=True), step("b", exact=True)], "a-b").exact
