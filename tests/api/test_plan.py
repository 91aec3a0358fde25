"""A plan says what the command says, and can be written and replayed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import deepmerge
from deepmerge.passes.support.base import Options
from deepmerge.plan.region_choices import find_regions
from tests.api.commands import PAIR, command


def test_a_recipe_can_be_written_and_replayed(network, tmp_path):
    network.plan(steps="conv2").write(tmp_path / "recipe.toml")
    made = network.convert(tmp_path / "recipe.toml")
    assert [step["name"] for step in made.report["steps"]] == ["conv2"]
    with pytest.raises(deepmerge.DeepmergeError, match="force=True"):
        network.plan().write(tmp_path / "recipe.toml")


@pytest.mark.parametrize("words", [[], ["--steps", "conv1"], ["--exact"]])
def test_plan_says_the_same(capsys, words):
    options = {"steps": "conv1"} if "--steps" in words else {"exact": bool(words)}
    network = deepmerge.load(*PAIR)
    found = json.loads(json.dumps(network.plan(**options).to_dict()))
    assert command(capsys, "plan", *PAIR, *words) == {"version": 1, **found} and found["before"] == network.costs


def test_a_chosen_plan_says_what_the_same_steps_say(network):
    """It names its ranks, and so is listed without computing any weights."""
    found = network.plan().found
    regions = find_regions(network.graph, [one.step for one in found.candidates], Options())
    choice = next(one for region in regions for one in region.choices if len(one.steps) > 1 and "rank" in one.label)
    found = replace(found, recipe=replace(found.recipe, steps=choice.steps))
    plain = deepmerge.Plan(network, found).to_dict()
    why = {"goal": {"speedup": 2}}
    assert deepmerge.Plan(network, replace(found, choice=why)).to_dict() == plain | {"choice": why}
    assert [step["name"] for step in plain["steps"]] == [step.name for step in choice.steps]
    assert all(layer.weights for layer in network.graph.layers if layer.type == "Convolution")


@pytest.mark.parametrize("emit", ["caffe", "onnx-int8"])
def test_what_is_said_about_a_choice_becomes_a_warning(network, images, emit):
    plan = network.plan(steps="conv1", calibration=f"npz:{images}")
    chosen = deepmerge.Plan(network, plan.found, plan.images, ["1.png: no such file"])
    assert chosen.notes == ["1.png: no such file", *plan.notes]
    assert "1.png: no such file" in network.convert(chosen, emit=[emit]).report["warnings"]


def test_strict_fails_on_what_is_said_about_images_and_not_on_what_an_engine_refuses(network, images):
    """Even if the same was said about the choice."""
    plan, same = network.plan(steps="conv1", calibration=f"npz:{images}"), "mean.binaryproto is not there"
    chosen = deepmerge.Plan(network, plan.found, plan.images, ["conv1: ort refuses it", same])
    assert [step["name"] for step in network.convert(chosen, strict=True).report["steps"]] == ["conv1"]
    chosen.images.notes.append(same)
    with pytest.raises(deepmerge.DeepmergeError, match=f"^--strict: {same}"):
        network.convert(chosen, strict=True)


def test_images_that_no_step_uses_are_told_unless_they_are_for_int8(network, images, tmp_path):
    network.plan(steps="conv1").write(tmp_path / "recipe.toml")
    plan = network.plan(recipe=tmp_path / "recipe.toml", calibration=f"npz:{images}")
    assert (plan.choice_notes, plan.image_notes, len(plan.unused_notes)) == ([], [], 1)
    plan.images.notes.append("1.png: no such file")
    assert plan.notes == ["1.png: no such file", *plan.unused_notes]
    for emit, said in ((["caffe"], plan.notes), (["onnx-int8"], plan.image_notes)):
        assert network.convert(plan, emit=emit).report["warnings"] == said
