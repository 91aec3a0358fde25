from __future__ import annotations

import re

import pytest

from deepmerge.errors import PlanError
from deepmerge.formats import STYLES
from deepmerge.targets.conventions import CONVENTIONS
from deepmerge.targets.names import FOLDER, TARGETS
from deepmerge.targets.target import load_target, target_of

LEAST = {"title": "A chip", "source": "its manual", "date": "2026-01-31", "tried": False}


def test_the_names_are_those_of_the_files():
    assert set(TARGETS) == {file.stem for file in FOLDER.glob("*.toml")} >= {"ascend", "sophon"}


@pytest.mark.parametrize("name", TARGETS)
def test_each_has_a_source_and_a_date_and_says_that_it_was_not_tried(name):
    target = load_target(name)
    assert target.source and re.fullmatch(r"\d{4}-\d\d-\d\d", target.date)
    assert target.note == f"from its documentation of {target.date}; not tried on the compiler"


def test_the_styles_are_conventions():
    assert set(CONVENTIONS) - set(STYLES) == {"same-layers", "no-training"}


def test_an_unknown_target():
    with pytest.raises(PlanError, match="there is no target 'asced'; did you mean 'ascend'"):
        load_target("asced")


def test_one_that_is_based_on_another():
    ascend, atlas = load_target("ascend"), load_target("atlas500")
    assert set(ascend.rules) < set(atlas.rules) and set(ascend.conventions) < set(atlas.conventions)
    assert atlas.title != ascend.title


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"tries": True}, "there is no 'tries'; did you mean 'tried'"),
        ({"conventions": ["axis-window"]}, "there is no 'axis-window'; did you mean 'axis-windows'"),
        ({"rule": [{"name": "a", "types": ["ReLU"], "value": "tops", "mots": 1}]}, "there is no 'mots'"),
    ],
)
def test_words_that_do_not_exist(data, text):
    with pytest.raises(ValueError, match=text):
        target_of("chip", LEAST | data)


def test_ranges_and_choices():
    rule = {"name": "a", "types": ["Pooling"], "value": "kernel"}
    made = target_of(
        "chip",
        LEAST | {"rule": [rule | {"least": 1, "most": 8}, rule | {"one_of": [1, 3]}, rule | {"none_of": [False]}]},
    )
    span, choice, no = made.rules
    assert [span.allows(n) for n in (0, 1, 8, 9)] == [False, True, True, False]
    assert [choice.allows(n) for n in (1, 2, 3)] == [True, False, True]
    assert not no.allows(False) and no.allows(True)
    assert [r.allowed for r in made.rules] == ["at least 1, at most 8", "only 1 or 3", "not false"]
