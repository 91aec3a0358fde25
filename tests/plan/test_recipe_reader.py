from __future__ import annotations

import pytest
from hypothesis import given, settings

from deepmerge.errors import PlanError
from deepmerge.plan.recipe import Recipe
from deepmerge.plan.recipe_reader import read_recipe
from tests.plan.strategies import RECIPES


@settings(deadline=None, max_examples=60)
@given(RECIPES)
def test_a_recipe_is_read_back_as_it_was_written(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8", newline="")
    assert read_recipe(path) == recipe
    assert read_recipe(path).to_toml() == recipe.to_toml()


HEAD = "version = 1\n"
STEP = HEAD + '[[step]]\nname = "s"\npasses = ["merge_lrn"]\nlayers = ["norm"]\n'


@pytest.mark.parametrize(
    "text, expected",
    [
        ("version = 1\nstep = [", "is not TOML"),
        ("", "version None is not known; this deepmerge writes version 1"),
        ("version = 2", "version 2 is not known; this deepmerge writes version 1"),
        ('version = "1"', "version '1' is not known"),
        ("version = true", "version True is not known"),
        (HEAD + "steps = []", "unknown key 'steps'; did you mean 'step'?"),
        (HEAD + "step = 3", "steps are written as [[step]]"),
        (HEAD + "step = [3]", "steps are written as [[step]]"),
        (HEAD + "network = 3", "network: expected a string, found 3"),
        (HEAD + 'keep = "pool1"', "keep: expected a list of strings, found 'pool1'"),
        (HEAD + "keep = [1]", "keep: expected a list of strings, found [1]"),
        (HEAD + 'cleanup = ["remove_drop"]', "cleanup: there is no pass 'remove_drop'; did you mean 'remove_dropout'"),
        (HEAD + 'cleanup = ["merge_lrn"]', "cleanup: 'merge_lrn' is not exact; give it its own [[step]]"),
        (HEAD + "[[step]]\n", "step 1: 'name' is missing"),
        (STEP.replace('"s"', '""'), "step 1: 'name' is empty"),
        (STEP.replace('"s"', "7"), "step 1, name: expected a string, found 7"),
        (STEP.replace('"norm"', ""), "step 1: 'layers' is empty"),
        (STEP.replace('layers = ["norm"]', ""), "step 1: 'layers' is missing"),
        (STEP.replace('["norm"]', '"norm"'), "step 1, layers: expected a list of strings, found 'norm'"),
        (
            STEP.replace("merge_lrn", "merge_lm"),
            "step 1, passes: there is no pass 'merge_lm'; did you mean 'merge_lrn'",
        ),
        (STEP + "widht = 0.5", "step 1: unknown key 'widht'; did you mean 'width'?"),
        (STEP + 'exact = "no"', "step 1, exact: expected true or false, found 'no'"),
        (STEP + "width = 2", "step 1, width: 2 is neither a number above 0 and up to 1 nor 'full'"),
        (STEP + "width = true", "step 1, width: True is neither"),
        (STEP + "width = nan", "step 1, width: nan is neither"),
        (STEP + "width = []", "step 1, width: [] is neither"),
        (STEP + 'kernel = "covers"', "step 1, kernel: 'covers' is none of keep, cover"),
        (STEP + "kernel = [1]", "step 1, kernel: [1] is none of keep, cover"),
        (STEP + "init = 1", "step 1, init: 1 is none of trained, xavier"),
        (STEP + "rank = 0.5", "step 1, rank: 0.5 is none of vbmf"),
        (STEP + 'rank = "energy"', "step 1, rank: 'energy' is none of vbmf"),
        (STEP + 'absorb = "lrn"', "step 1, absorb: expected a list of lrn, pooling, branches, found 'lrn'"),
        (STEP + 'absorb = ["pool"]', "step 1, absorb: 'pool' is none of lrn, pooling, branches"),
        (STEP + STEP.replace(HEAD, "") + "a = 1", "step 2: unknown key 'a'"),
        (STEP + STEP.replace(HEAD, ""), "step 2, name: step 1 is called 's', too; give one of them another name"),
        (
            STEP.replace('"s"', '"all"'),
            "step 1, name: 'all' stands for another network in tables; give it another name",
        ),
        (STEP.replace('"s"', '"int8"'), "step 1, name: 'int8' stands for another network in tables"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, text, expected):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(PlanError) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(f"{path}: {expected}"), raised.value
    assert "\n" not in str(raised.value) and raised.value.file == path


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe\0")])
def test_files_that_are_no_recipe(tmp_path, make):
    path = tmp_path / "recipe.toml"
    make(path)
    with pytest.raises(PlanError, match="recipe.toml: (cannot be read: |is not TOML: )"):
        read_recipe(path)


def test_nesting_without_end_is_no_recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(PlanError, match="is not TOML"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = " + "9" * 5000, "is not TOML: "),
        ("version = 0x" + "f" * 5000, "has a number that is too long"),
        ("version = 2000-99-99", "is not TOML: "),
        (STEP + "width = 1" + "0" * 400, "step 1, width: 1000"),
        (STEP + "width = nan", "step 1, width: nan is neither a number above 0"),
        (STEP + "width = -inf", "step 1, width: -inf is neither"),
        (STEP + "rank = 'energy:1e-400'", "step 1, rank: 'energy:1e-400' is none of"),
        (STEP.replace('"s"', '"' + "s" * 100_000 + '"') + "x = 1", "step 1: unknown key 'x'"),
        ("#" + " " * (1 << 24), "is longer than 16,777,216 characters, which is too long for a recipe"),
    ],
    ids=range(9),
)
def test_values_that_are_absurd(tmp_path, text, expected):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(PlanError) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(f"{path}: {expected}") and len(str(raised.value)) < 2500


@pytest.mark.parametrize("name", ["data\udcff", "bytes:data", "two words"])
def test_inputs_may_have_any_name(tmp_path, name):
    (tmp_path / "r.toml").write_text(Recipe("net", inputs={name: (1, 3, 4, 4)}).to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "r.toml").inputs == {name: (1, 3, 4, 4)}


@pytest.mark.parametrize("name", ["s", "all", "int8"])
def test_an_exact_step_may_have_the_name_of_any_other(tmp_path, name):
    """The plan of a network calls both a fold and a merge after the layers that they change."""
    exact = STEP.replace('"s"', f'"{name}"') + "exact = true\n"
    (tmp_path / "r.toml").write_text(exact + exact.replace(HEAD, "") + STEP.replace(HEAD, ""))
    assert [step.name for step in read_recipe(tmp_path / "r.toml").steps] == [name, name, "s"]


def test_a_target_is_a_name(tmp_path):
    (tmp_path / "r.toml").write_text(HEAD + "target = false\n")
    with pytest.raises(PlanError, match="there is no target False"):
        read_recipe(tmp_path / "r.toml")
