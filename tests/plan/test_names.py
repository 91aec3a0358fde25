from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.plan.names import head, step_names
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select


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
    assert step_names([["tucker"], ["all/conv"]], taken={"tucker"}) == ["tucker_2", "all_2"]


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
