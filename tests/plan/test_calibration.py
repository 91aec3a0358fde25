"""Plans and recipes of steps that go by calibration images."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PlanError
from deepmerge.kernels.moments import Moments
from deepmerge.passes.support.base import Options
from deepmerge.plan import Recipe, Step, Wishes, make_plan, read_recipe, run_recipe
from tests.helpers import conv, inputs, layer, relu

NET = (
    inputs((1, 24, 12, 12))
    + conv("conv1", "data", 32, "kernel_size: 3")
    + relu("conv1")
    + layer("norm1", "LRN", "conv1")
    + conv("conv2", "norm1", 40)
)


class Images:
    """Calibration images: in every layer's input only the first channels vary. asked: the layers, each time."""

    about = "3 images, sha256:00"

    def __init__(self, varying: int = 4):
        self.varying, self.asked = varying, []

    def moments(self, graph, names):
        self.asked.append(([layer.name for layer in graph.layers], tuple(names)))
        found = {}
        for name in names:
            _, channels, kernel_h, kernel_w = graph.layer(name).weights[0].shape
            variances = np.repeat(np.arange(channels) < self.varying, kernel_h * kernel_w) + 1e-6
            found[name] = Moments("patches", 0 * variances[None], np.diag(variances)[None])
        return found


def test_the_plan_asks_for_what_the_steps_before_leave_and_holds_ranks_and_images(read):
    graph, images = read(NET), Images()
    plan = make_plan(graph, Wishes(tucker=True, options=Options(rank="energy:0.999")), images)
    (step,) = (step for step in plan.recipe.steps if step.name == "tucker")
    ranks = step.options.pop("ranks")
    assert step.options == {"rank": "energy:0.999", "calibration": "3 images, sha256:00"}
    assert list(ranks) == ["conv1", "conv2"] and ranks["conv1"][0] == 4 and ranks["conv2"] == [4]
    ((layers, names),) = images.asked
    assert "norm1" not in layers and names == ("conv1", "conv2")
    assert make_plan(graph, Wishes(tucker=True, options=Options(rank="energy:0.999"))).recipe.steps[-1].name != "tucker"


def test_without_images_ranks_stand_in_the_recipe_only_if_they_depend_on_each_other(read):
    graph = read(NET)
    for rank, wanted in (("ratio:0.25", {"rank"}), ("macs:0.5", {"rank", "ranks"})):
        step = make_plan(graph, Wishes(tucker=True, options=Options(rank=rank))).recipe.steps[-1]
        assert set(step.options) == wanted and step.options["rank"] == rank


@pytest.mark.parametrize("rank", ["energy:0.99", "macs:0.4"])
def test_a_recipe_gives_the_same_bytes_with_the_same_images(read, tmp_path, rank):
    graph = read(NET)
    plan = make_plan(graph, Wishes(tucker=True, options=Options(rank=rank)), Images())
    (tmp_path / "recipe.toml").write_text(plan.recipe.to_toml())
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert recipe.to_toml() == plan.recipe.to_toml()
    made = []
    for one in (plan.recipe, recipe):
        copy = graph.copy()
        assert [result.step.name for _, result in run_recipe(copy, one, calibration=Images())] == ["conv1", "tucker"]
        made.append([(x.name, [w.tobytes() for w in x.weights]) for x in copy.layers])
        assert copy.warnings == graph.warnings
    assert made[0] == made[1] and "conv1_reduce" in dict(made[0])


def test_images_go_through_the_network_as_the_steps_before_left_it(read):
    first = Step("conv1", ("merge_lrn",), ("norm1",))
    step = Step("t", ("decompose_tucker",), ("conv1",), options={"rank": "ratio:0.25", "calibration": Images.about})
    images = Images()
    for _ in run_recipe(read(NET), Recipe("net", steps=(first, step)), calibration=images):
        pass
    ((layers, names),) = images.asked
    assert "norm1" not in layers and names == ("conv1",)


def calibrated(**options):
    return Recipe(
        "net", steps=(Step("t", ("decompose_tucker",), ("conv2",), options={"rank": "ratio:0.25", **options}),)
    )


def test_missing_images_are_asked_for(read):
    with pytest.raises(
        PlanError,
        match=r"step 't' was made with calibration images \(9 images\); give them with --calibration, or remove",
    ):
        list(run_recipe(read(NET), calibrated(calibration="9 images")))


def test_other_images_are_warned_of(read):
    graph = read(NET)
    list(run_recipe(graph, calibrated(calibration="9 images, sha256:11"), calibration=Images()))
    (warning,) = graph.warnings
    assert "with calibration images (9 images, sha256:11); these are others (3 images, sha256:00)" in warning


def test_a_step_without_a_word_of_images_does_not_ask_for_them(read):
    images = Images()
    list(run_recipe(read(NET), calibrated(), calibration=images))
    assert images.asked == []


def test_a_budget_without_ranks_is_shared_out_among_the_steps_layers(read):
    """An edited recipe: macs:0.3 in place of what stood there, and no table."""
    graph = read(NET)
    step = Step("t", ("decompose_tucker",), ("conv1", "conv2"), options={"rank": "macs:0.3"})
    ((_, result),) = run_recipe(graph, Recipe("net", steps=(step,)))
    assert {change.layer for change in result.changes} == {"conv1", "conv2"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ranks = 3", "step 1, ranks: expected a table of layers and their ranks"),
        ('ranks = {conv2 = "4"}', r"ranks: 'conv2': expected \[rank\] or \[rank_in, rank_out\]"),
        ("ranks = {conv2 = []}", "ranks: 'conv2': expected"),
        ("ranks = {conv2 = [0]}", "ranks: 'conv2': expected"),
        ("ranks = {conv2 = [true]}", "ranks: 'conv2': expected"),
        ("ranks = {conv2 = [1, 2, 3]}", "ranks: 'conv2': expected"),
        ("calibration = 500", "step 1, calibration: expected text"),
    ],
)
def test_what_an_edited_recipe_may_have_wrong(tmp_path, text, wanted):
    path = tmp_path / "recipe.toml"
    path.write_text(f'version = 1\n[[step]]\nname = "t"\npasses = ["decompose_tucker"]\nlayers = ["conv2"]\n{text}\n')
    with pytest.raises(PlanError, match=wanted):
        read_recipe(path)


def test_a_layer_that_cannot_be_decomposed_is_refused_with_its_reason(read):
    graph = read(inputs((1, 24, 5, 6)) + layer("ip", "InnerProduct", "data", "num_output: 4 axis: 2"))
    step = Step("t", ("decompose_tucker",), ("ip",), options={"rank": "energy:0.5", "calibration": Images.about})
    with pytest.raises(PlanError, match="decompose_tucker refuses 'ip': it works on axis 2, not 1"):
        list(run_recipe(graph, Recipe("net", steps=(step,)), calibration=Images()))
