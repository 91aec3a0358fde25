from __future__ import annotations

import pytest
from helpers import conv, inputs
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.errors import PlanError
from deepmerge.passes.base import Options
from deepmerge.passes.registry import CLEANUP, PASSES
from deepmerge.plan.recipe import STEP_OPTIONS, Recipe, Step, check_fits, check_keep, options_for, read_recipe

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
NAMES = st.lists(NAME, min_size=1, max_size=40).map(tuple)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "width": st.just("full") | st.floats(0, 1, exclude_min=True),
        "kernel": st.sampled_from(["keep", "cover"]),
        "init": st.sampled_from(["trained", "xavier"]),
        "rank": st.just("vbmf") | st.floats(1e-9, 1).map(lambda share: f"energy:{share}"),
        "absorb": st.lists(st.sampled_from(["lrn", "pooling", "branches"]), unique=True).map(tuple),
    },
)
PASS_NAMES = st.lists(st.sampled_from(sorted(PASSES)), min_size=1, unique=True).map(tuple)
STEPS = st.builds(Step, NAME, PASS_NAMES, NAMES, st.booleans(), OPTIONS)
RECIPES = st.builds(Recipe, TEXT, st.just(CLEANUP), NAMES | st.just(()), st.lists(STEPS, max_size=4).map(tuple))


@given(RECIPES)
def test_a_recipe_is_read_back_as_it_was_written(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8", newline="")
    assert read_recipe(path) == recipe
    assert read_recipe(path).to_toml() == recipe.to_toml()


@given(RECIPES)
def test_the_text_is_toml_with_the_steps_values(recipe):
    data = tomllib.loads(recipe.to_toml())
    assert data["version"] == 1 and data["network"] == recipe.network and data["keep"] == list(recipe.keep)
    assert [tuple(step["layers"]) for step in data.get("step", [])] == [step.layers for step in recipe.steps]
    assert [step.get("width") for step in data.get("step", [])] == [step.options.get("width") for step in recipe.steps]


def test_every_option_of_a_step_is_one_of_the_passes():
    defaults = Options()
    for key, check in STEP_OPTIONS.items():
        value = getattr(defaults, key)
        assert check(list(value) if isinstance(value, tuple) else value) == value


def test_a_step_merges_even_where_it_costs_more():
    options = options_for(Step("a", ("merge_lrn",), ("norm",), options={"width": 0.25}), ["pool1"])
    assert options == Options(width=0.25, keep=frozenset({"pool1"}), costly=True)


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
        (HEAD + "network = 3", "network: wants a string, found 3"),
        (HEAD + 'keep = "pool1"', "keep: wants a list of strings, found 'pool1'"),
        (HEAD + "keep = [1]", "keep: wants a list of strings, found [1]"),
        (HEAD + 'cleanup = ["remove_drop"]', "cleanup: there is no pass 'remove_drop'; did you mean 'remove_dropout'"),
        (HEAD + 'cleanup = ["merge_lrn"]', "cleanup: 'merge_lrn' is not exact; give it a [[step]] of its own"),
        (HEAD + "[[step]]\n", "step 1: 'name' is missing"),
        (STEP.replace('"s"', '""'), "step 1: 'name' is empty"),
        (STEP.replace('"s"', "7"), "step 1, name: wants a string, found 7"),
        (STEP.replace('"norm"', ""), "step 1: 'layers' is empty"),
        (STEP.replace('layers = ["norm"]', ""), "step 1: 'layers' is missing"),
        (STEP.replace('["norm"]', '"norm"'), "step 1, layers: wants a list of strings, found 'norm'"),
        (STEP.replace("merge_lrn", "merge_lm"), "step 1, passes: there is no pass 'merge_lm'; did you mean 'merge_lrn'"),
        (STEP + "widht = 0.5", "step 1: unknown key 'widht'; did you mean 'width'?"),
        (STEP + 'exact = "no"', "step 1, exact: wants true or false, found 'no'"),
        (STEP + "width = 2", "step 1, width: 2 is neither a number above 0 and up to 1 nor 'full'"),
        (STEP + "width = true", "step 1, width: True is neither"),
        (STEP + "width = nan", "step 1, width: nan is neither"),
        (STEP + "width = []", "step 1, width: [] is neither"),
        (STEP + 'kernel = "covers"', "step 1, kernel: 'covers' is none of keep, cover"),
        (STEP + "kernel = [1]", "step 1, kernel: [1] is none of keep, cover"),
        (STEP + "init = 1", "step 1, init: 1 is none of trained, xavier"),
        (STEP + "rank = 0.5", "step 1, rank: 0.5 is none of vbmf"),
        (STEP + 'rank = "energy"', "step 1, rank: 'energy' is none of vbmf"),
        (STEP + 'absorb = "lrn"', "step 1, absorb: wants a list of lrn, pooling, branches, found 'lrn'"),
        (STEP + 'absorb = ["pool"]', "step 1, absorb: 'pool' is none of lrn, pooling, branches"),
        (STEP + STEP.replace(HEAD, "") + "a = 1", "step 2: unknown key 'a'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, text, expected):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(PlanError) as raised:
        read_recipe(path)
    assert str(raised.value).startswith(f"{path}: {expected}"), raised.value
    assert "\n" not in str(raised.value)


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


@pytest.fixture
def graph(read):
    return read(inputs((1, 3, 4, 4)) + conv("conv1", "data", 2), None)


def test_a_recipe_of_another_network(graph):
    recipe = Recipe("AlexNet", steps=(Step("conv2", ("merge_lrn",), ("norm2",)),))
    with pytest.raises(PlanError) as raised:
        check_fits(recipe, graph, "r.toml")
    assert str(raised.value) == "r.toml: was made for the network 'AlexNet'; 'net' has none of the layers that it names"


def test_a_recipe_may_name_layers_that_its_steps_make(graph):
    check_fits(Recipe("net", steps=(Step("a", ("decompose_tucker",), ("conv1",)), Step("b", ("merge_lrn",), ("made",)))), graph, "r")
    check_fits(Recipe("other"), graph, "r")


def test_keep_knows_layers_and_types(graph):
    check_keep(["conv1", "Convolution"], graph, "--keep")
    with pytest.raises(PlanError, match="--keep: the network 'net' has no layer or type 'conv'; did you mean 'conv1'?"):
        check_keep(["conv"], graph, "--keep")
    with pytest.raises(PlanError, match=r"r\.toml: keep: the network 'net' has no layer or type 'LRN'"):
        check_fits(Recipe("net", keep=("LRN",)), graph, "r.toml")
