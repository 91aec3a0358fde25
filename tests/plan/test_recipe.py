from __future__ import annotations

import pytest
from hypothesis import given, settings

from deepmerge.errors import PlanError
from deepmerge.passes.support.base import Options
from deepmerge.plan.recipe import STEP_OPTIONS, Recipe, Step, check_fits, check_keep, options_for
from tests.helpers import conv, inputs
from tests.plan.strategies import RECIPES

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


@settings(deadline=None, max_examples=60)
@given(RECIPES)
def test_the_text_is_toml_with_the_steps_values(recipe):
    data = tomllib.loads(recipe.to_toml())
    assert data["version"] == 1 and data["network"] == recipe.network and data["keep"] == list(recipe.keep)
    assert [tuple(step["layers"]) for step in data.get("step", [])] == [step.layers for step in recipe.steps]
    assert [step.get("width") for step in data.get("step", [])] == [step.options.get("width") for step in recipe.steps]


def test_the_options_of_a_step_are_the_passes():
    assert set(STEP_OPTIONS) == set(Options.__dataclass_fields__) - {"keep", "target", "costly", "moments"}


def test_a_step_merges_even_where_it_costs_more():
    common = Options(keep=frozenset({"pool1"}), target="ascend")
    options = options_for(Step("a", ("merge_lrn",), ("norm",), options={"width": 0.25}), common)
    assert options == Options(width=0.25, keep=frozenset({"pool1"}), target="ascend", costly=True)


@pytest.fixture
def graph(read):
    return read(inputs((1, 3, 4, 4)) + conv("conv1", "data", 2), None)


def test_a_recipe_of_another_network(graph):
    recipe = Recipe("AlexNet", steps=(Step("conv2", ("merge_lrn",), ("norm2",)),), file="r.toml")
    with pytest.raises(PlanError) as raised:
        check_fits(recipe, graph)
    assert str(raised.value) == "r.toml: was made for the network 'AlexNet'; 'net' has none of the layers that it names"


def test_a_recipe_may_name_layers_that_its_steps_make(graph):
    check_fits(
        Recipe("net", steps=(Step("a", ("decompose_tucker",), ("conv1",)), Step("b", ("merge_lrn",), ("made",)))),
        graph,
    )
    check_fits(Recipe("other"), graph)


def test_keep_knows_layers_and_types(graph):
    check_keep(["conv1", "Convolution"], graph, "--keep")
    with pytest.raises(PlanError, match="--keep: the network 'net' has no layer or type 'conv'; did you mean 'conv1'?"):
        check_keep(["conv"], graph, "--keep")
    with pytest.raises(PlanError, match=r"r\.toml: keep: the network 'net' has no layer or type 'LRN'"):
        check_fits(Recipe("net", keep=("LRN",), file="r.toml"), graph)
