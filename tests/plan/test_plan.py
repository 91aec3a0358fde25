"""Plans of whole networks. What GoogLeNet, AlexNet and ResNet must give is known from their papers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmerge.errors import PlanError
from deepmerge.passes.registry import FOLDS, make
from deepmerge.passes.support.base import Options, run
from deepmerge.plan import Recipe, Wishes, make_plan, read_recipe, run_recipe
from deepmerge.plan.select import select
from tests.helpers import conv, inputs, layer, relu

GOOGLENET = "conv1 conv2 inception_3a inception_3b inception_4a inception_4b inception_4c inception_4d inception_4e inception_5a inception_5b"
BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}


def names(plan, exact=False) -> list[str]:
    return [step.name for step in plan.recipe.steps if step.exact == exact]


def merged(graph, plan) -> dict[str, list[str]]:
    """{step: what it merges}, when the plan is carried out on a copy of the graph."""
    return {done.step.name: done.merged for _, done in run_recipe(graph.copy(), plan.recipe)}


def blocks(name: str) -> list[str]:
    """conv1, res2a, res2b …: Caffe's names of ResNet's blocks; from 27 blocks on, a stage counts b1, b2 …"""
    made = ["conv1"]
    for stage, count in enumerate(BLOCKS[name], 2):
        many = name == "resnet152" and stage in (3, 4)
        made += [f"res{stage}{'a' if not i else f'b{i}' if many else chr(97 + i)}" for i in range(count)]
    return made


def test_googlenet(model, plan_of):
    graph = model("googlenet")
    plan = plan_of(graph)
    assert names(plan) == GOOGLENET.split() and names(plan, exact=True) == []
    took = merged(graph, plan)
    assert took["conv1"] == ["conv1/7x7_s2", "pool1/3x3_s2", "pool1/norm1"]
    assert took["conv2"] == ["conv2/3x3", "conv2/norm2", "pool2/3x3_s2"]
    assert took["inception_3b"][-1] == "pool3/3x3_s2" and took["inception_4e"][-1] == "pool4/3x3_s2"
    assert all(
        f"{name}/{layer}" in took[name]
        for name in GOOGLENET.split()[2:]
        for layer in ("1x1", "3x3", "5x5", "pool_proj")
    )


def test_googlenet_with_its_weights_has_the_same_plan(zoo, plan_of):
    from deepmerge.formats.read import read_network

    trained = read_network(zoo / "googlenet.prototxt", zoo / "googlenet.caffemodel")
    assert names(plan_of(trained)) == GOOGLENET.split()


def test_googlenet_by_range(model, plan_of):
    graph = model("googlenet")
    plan = plan_of(graph, steps="conv1,inception_4b-4d")
    assert names(plan) == ["conv1", "inception_4b-4d"]
    assert Counter(name.split("/")[0] for name in merged(graph, plan)["inception_4b-4d"]) == {
        "inception_4b": 7, "inception_4c": 7, "inception_4d": 7
    }  # fmt: skip


def test_alexnet(model, plan_of):
    graph = model("alexnet")
    plan = plan_of(graph)
    assert merged(graph, plan) == {
        "conv1": ["conv1", "norm1"],
        "conv2": ["conv2", "norm2", "pool2"],
        "conv5": ["conv5", "pool5"],
    }
    assert [(r.layer, "--kernel cover" in r.reason) for r in plan.refusals] == [("pool1", True)]


def test_alexnet_as_in_the_paper(model, plan_of):
    graph = model("alexnet")
    assert merged(graph, plan_of(graph, absorb=("lrn",))) == {"conv1": ["conv1", "norm1"], "conv2": ["conv2", "norm2"]}


@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_resnet(model, plan_of, name):
    graph = model(name)
    plan = plan_of(graph)
    if name == "resnet50":
        assert names(plan, exact=True) == blocks(name)
    else:
        assert len(names(plan, exact=True)) == 1 + sum(BLOCKS[name])
        assert names(plan, exact=True)[:5] == ["conv1", "res2a", "res2b", "res2c", "res3a"]
    assert names(plan) == ["conv1"]
    took = [done.merged for _, done in run_recipe(graph, plan.recipe)]
    assert took[-1] == ["conv1", "pool1"]
    assert not {"BatchNorm", "Scale"} & {one.type for one in graph.layers}


def test_resnet_exact_takes_folds_alone(model, plan_of):
    plan = plan_of(model("resnet50"), exact=True)
    assert names(plan, exact=True) == blocks("resnet50") and names(plan) == []


def test_a_folds_name_is_no_mistake(model, plan_of):
    plan = plan_of(model("resnet50"), steps="res2a")
    assert names(plan, exact=True) == blocks("resnet50") and names(plan) == []


@pytest.mark.parametrize(
    "name, taken", [("squeezenet_v1.0", ["fire4", "fire8"]), ("squeezenet_v1.1", ["fire3", "fire5"])]
)
def test_squeezenet_merges_where_a_pooling_pays_for_it(model, plan_of, name, taken):
    """Only where a strided pooling goes too do the MACs fall; elsewhere the 1x1 would become a 3x3: 9 / 5 of the work."""
    graph = model(name)
    plan = plan_of(graph)
    assert names(plan) == taken
    costly = {c.step.name: c.costly for c in plan.candidates if c.costly}
    assert sorted(costly) == sorted({f"fire{i}" for i in range(2, 10)} - set(taken))
    refused = {r.layer: r.reason for r in plan.refusals}
    for step, reason in costly.items():
        after, before = (int(word.strip(",;").replace(",", "")) for word in reason.split() if word[0].isdigit())
        assert after / before == pytest.approx(9 / 5)
        assert refused[f"{step}/concat"] == f"{reason}; --steps {step} merges it anyway"


def test_a_costly_step_comes_in_by_its_name(model, plan_of):
    graph = model("squeezenet_v1.1")
    plan = plan_of(graph, steps="fire2")
    assert [step.name for step in plan.recipe.steps] == ["fire2"]
    assert merged(graph, plan) == {"fire2": ["fire2/expand1x1", "fire2/expand3x3"]}
    assert "fire2/concat" not in {r.layer for r in plan.refusals}
    both = plan_of(graph, steps="all,fire2")
    assert sorted(step.name for step in both.recipe.steps) == ["fire2", "fire3", "fire5"]


def test_exact_embedding_where_asked_for(model, plan_of):
    plan = plan_of(model("inception_mini"), exact=True, width="full", steps="inception_3a")
    assert [(step.name, step.passes, step.exact) for step in plan.recipe.steps] == [
        ("inception_3a", ("embed_branches",), True)
    ]


def test_exact_joins_narrow_siblings(read, plan_of):
    text = (
        inputs((1, 24, 9, 9))
        + "".join(conv(f"b{i}", "data", 8) for i in range(3))
        + layer("sum", "Eltwise", "b0 b1 b2")
    )
    (step,) = plan_of(read(text), exact=True).recipe.steps
    assert (step.name, step.passes, step.layers, step.exact) == ("siblings", ("join_siblings",), ("b0",), True)
    assert plan_of(read(text)).recipe.steps == ()


def test_tucker_is_the_last_step_and_names_what_the_others_make(model, plan_of):
    graph = model("inception_mini")
    plan = plan_of(graph, steps="conv2,inception_4a", tucker=True, rank="ratio:0.25")
    assert names(plan) == ["conv2", "inception_4a", "tucker"]
    assert "inception_4a/3x3_merged" in plan.recipe.steps[-1].layers
    assert merged(graph, plan)["tucker"] == list(plan.recipe.steps[-1].layers)


def test_tucker_has_a_name_of_its_own(read, plan_of):
    text = inputs((1, 24, 17, 17)) + conv("tucker", "data", 64, "kernel_size: 3") + layer("norm", "LRN", "tucker")
    plan = plan_of(read(text), tucker=True, rank="ratio:0.2")
    assert names(plan) == ["tucker", "tucker_2"]


def test_tucker_without_weights_is_refused_layer_by_layer(model, plan_of):
    plan = plan_of(model("alexnet"), tucker=True)
    assert names(plan) == ["conv1", "conv2", "conv5"]
    assert Counter(r.reason for r in plan.refusals if r.pass_name == "decompose_tucker") == {
        "its ranks come from its weights, and there are none; give the caffemodel": 8
    }


def test_what_is_kept_stays_out_of_every_step(model, plan_of):
    graph = model("googlenet")
    plan = plan_of(graph, keep=frozenset({"LRN", "pool2/3x3_s2", "inception_4b/1x1"}))
    assert plan.recipe.keep == ("LRN", "inception_4b/1x1", "pool2/3x3_s2")
    took = {name for step in merged(graph, plan).values() for name in step}
    assert "pool1/3x3_s2" in took and not took & {"pool1/norm1", "conv2/norm2", "pool2/3x3_s2", "inception_4b/1x1"}


@pytest.mark.parametrize(
    "wishes, expected",
    [
        ({"steps": "conv3"}, "--steps: there is no step 'conv3'; did you mean"),
        ({"keep": frozenset({"pool1"})}, "--keep: the network 'GoogleNet' has no layer or type 'pool1'; did you mean"),
    ],
)
def test_names_that_are_not_there(model, plan_of, wishes, expected):
    with pytest.raises(PlanError) as raised:
        plan_of(model("googlenet"), **wishes)
    assert str(raised.value).startswith(expected)


def test_the_graph_is_not_changed(model, plan_of):
    graph = model("inception_mini")
    before = [(one.name, one.params, [id(w) for w in one.weights], one.step) for one in graph.layers]
    plan_of(graph, tucker=True)
    assert [(one.name, one.params, [id(w) for w in one.weights], one.step) for one in graph.layers] == before


# -- names carry no magic --------------------------------------------------------------------------


def renamed(graph, new: list[str]):
    """A copy in which layer i is called new[i], its top blobs, too; and {new name: old name}."""
    twin = graph.copy()
    old = {}
    for one, name in zip(twin.layers, new, strict=True):
        old[name] = one.name
        in_place = one.bottoms and one.bottom.name == one.top.name
        twin.rename(one, name)
        for number, top in enumerate(one.tops):
            twin.rename(top, one.bottom.name if in_place else f"{name}:{number}")
    return twin, old


def random_names(count: int, seed: int) -> list[str]:
    letters = np.array(list("ab1/_- é"))
    rng = np.random.default_rng(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        made["".join(rng.choice(letters, rng.integers(1, 9)))] = None
    return list(made)


def same_up_to_names(plan, other, old: dict[str, str]) -> None:
    assert len(other.recipe.steps) == len(plan.recipe.steps)
    for a, b in zip(plan.recipe.steps, other.recipe.steps, strict=True):
        assert (a.passes, a.exact, a.options) == (b.passes, b.exact, b.options)
        assert a.layers == tuple(old[name] for name in b.layers)
    titles = [c.step.name for c in other.candidates]
    assert len(set(titles)) == len(titles)
    for candidate in other.candidates:
        assert select(other.candidates, candidate.step.name) == [candidate.step]


@pytest.mark.parametrize("name", ["googlenet", "alexnet", "resnet50", "squeezenet_v1.0"])
def test_the_same_structure_under_random_names_has_the_same_plan(model, plan_of, name):
    graph = model(name)
    twin, old = renamed(graph, random_names(len(graph.layers), seed=3))
    same_up_to_names(plan_of(graph), plan_of(twin), old)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.randoms(use_true_random=False), st.booleans())
def test_names_that_collide(model, plan_of, random, shuffled):
    """All of one head, or names that are others' heads."""
    graph = model("inception_mini")
    pool = [f"all{mark}{i}" for i in range(40) for mark in "/_"] + [f"all_{i}/{j}" for i in range(10) for j in range(4)]
    if shuffled:
        random.shuffle(pool)
    twin, old = renamed(graph, pool[: len(graph.layers)])
    same_up_to_names(plan_of(graph), plan_of(twin), old)


def test_names_make_no_difference_to_the_weights(model, plan_of):
    graph = model("inception_mini")
    twin, _ = renamed(graph, random_names(len(graph.layers), seed=8))
    for one in (graph, twin):
        for _ in run_recipe(one, plan_of(one, tucker=True).recipe):
            pass
    assert [one.type for one in graph.layers] == [one.type for one in twin.layers]
    assert all(
        len(a.weights) == len(b.weights)
        and all(x.tobytes() == y.tobytes() for x, y in zip(a.weights, b.weights, strict=True))
        for a, b in zip(graph.layers, twin.layers, strict=True)
    )


# -- recipes replay plans ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"exact": True},
        {"width": "full"},
        {"kernel": "cover", "tucker": True},
        {"steps": "inception_3a-3b", "init": "xavier"},
    ],
    ids=str,
)
def test_a_written_recipe_replays_the_plan(model, plan_of, tmp_path, wishes):
    graph = model("inception_mini")
    recipe = plan_of(graph, **wishes).recipe
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    again = read_recipe(path)
    assert again == recipe
    twin = graph.copy()
    assert [(i, d.changes) for i, d in run_recipe(graph, recipe)] == [
        (i, d.changes) for i, d in run_recipe(twin, again)
    ]
    assert [[w.tobytes() for w in one.weights] for one in graph.layers] == [
        [w.tobytes() for w in one.weights] for one in twin.layers
    ]


def test_folds_replayed_region_by_region_give_the_same_weights(read, plan_of):
    """The plan folds all BatchNorms, then all Scales; its steps go region by region."""
    text = (
        inputs((1, 3, 12, 12)) + layer("bn0", "BatchNorm", "data") + layer("scale0", "Scale", "bn0", "bias_term: true")
    )
    text += conv("a", "scale0", 6, "kernel_size: 3") + layer("bn1", "BatchNorm", "a") + layer("scale1", "Scale", "bn1")
    text += (
        relu("scale1")
        + layer("bn2", "BatchNorm", "scale1")
        + layer("scale2", "Scale", "bn2", "bias_term: true")
        + conv("b", "scale2", 4)
    )
    graph, whole = read(text), read(text)
    plan = plan_of(graph, exact=True)
    for _ in run_recipe(graph, plan.recipe):
        pass
    run(make(FOLDS, Options()), whole)
    for a, b in zip(graph.layers, whole.layers, strict=True):
        assert a.name == b.name and len(a.weights) == len(b.weights)
        for x, y in zip(a.weights, b.weights, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)
    assert not {"BatchNorm", "Scale"} & {one.type for one in graph.layers}


def test_an_edited_recipe_does_what_it_says(model, plan_of, tmp_path):
    graph = model("inception_mini")
    text = plan_of(graph).recipe.to_toml()
    head, *steps = text.split("\n[[step]]\n")
    kept = [
        step.replace("width = 0.5", "width = 0.25")
        for step in steps
        if 'name = "inception_3a"' in step or 'name = "conv2"' in step
    ]
    path = tmp_path / "recipe.toml"
    path.write_text("\n[[step]]\n".join([head, *kept]))
    done = dict((d.step.name, d) for _, d in run_recipe(graph, read_recipe(path)))
    assert list(done) == ["conv2", "inception_3a"]
    assert graph.layer("inception_3a/3x3_reduce_merged").params.num_output == 12  # a quarter of 48
    assert graph.layer("inception_3b/3x3_reduce").params.num_output == 64


def test_an_empty_recipe_changes_nothing(model):
    graph = model("inception_mini")
    before = [one.name for one in graph.layers]
    assert list(run_recipe(graph, Recipe("x", cleanup=()))) == []
    assert [one.name for one in graph.layers] == before


def test_progress_counts_the_layers_that_tucker_has_looked_at(read):
    graph, seen = read(inputs((1, 3, 8, 8)) + conv("a", "data", 8) + relu("a") + conv("b", "a", 8)), []
    make_plan(graph, Wishes(tucker=True), progress=lambda *now: seen.append(now))
    assert seen == [("tucker", 0, 4), ("tucker", 1, 4), ("tucker", 2, 4), ("tucker", 3, 4)]
