from __future__ import annotations

import math
import os

import pytest

from deepmerge.choose import study as module
from deepmerge.choose.frontier import Point
from deepmerge.choose.goal import Goal, choose
from deepmerge.choose.job import ChooseJob
from deepmerge.choose.loss import Inside
from deepmerge.choose.measurements import WHOLE
from deepmerge.choose.plans import Plans, digest_of
from deepmerge.choose.report import chosen_entry
from deepmerge.choose.study import EXACT, ORIGINAL
from deepmerge.errors import EngineError, PlanError
from deepmerge.measure.harness.setup import Passing
from deepmerge.passes.support.base import Options
from deepmerge.plan.region_choices import LEAVE
from tests.choose.conftest import SMALL
from tests.helpers import conv, inputs, layer, relu
from tests.helpers import network as filled


def test_measured_choices_give_the_same_plan_again_and_measure_nothing(study, monkeypatch):
    first = choose(Plans(study()), Goal(speedup=1.05))

    def forbidden(*_, **__):
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(module.Stopwatch, "times_of", forbidden)
    monkeypatch.setattr(module, "image_sets", forbidden)
    assert choose(Plans(study()), Goal(speedup=1.05)).recipe == first.recipe


@pytest.fixture
def work(monkeypatch):
    """What is asked for from now on, with made-up answers: the names of the choices judged, and of what is timed."""
    found = {"judged": [], "timed": []}

    def judge(inside, choice):
        found["judged"].append((inside.region.name, choice.label))
        return 0.1, 0.9

    def timed(_, graphs, seconds):
        found["timed"] += graphs
        return dict.fromkeys(graphs, 1.0)

    monkeypatch.setattr(Inside, "judge", judge)
    monkeypatch.setattr(module.Study, "timed", timed)
    return found


def _names(study):
    return {(region.name, choice.label) for region in study.regions for choice in region.choices}


def test_a_wider_run_measures_only_what_is_missing_and_a_narrower_one_nothing(study, small, tmp_path, work):
    file, narrow = tmp_path / "measured.csv", study(graph=small, steps="conv2")
    narrow.measure()
    before = file.read_text()
    work["judged"].clear(), work["timed"].clear()
    wide = study(graph=small, steps="conv1,conv2")
    wide.measure()

    new = _names(wide) - _names(narrow)
    assert set(work["judged"]) == {name for name in new if name[1] != LEAVE} and new
    assert set(work["timed"]) == new | {(module.WHOLE, module.ORIGINAL)}
    assert file.read_text().startswith(before), "what was known stays as it was"

    after = file.read_text()
    work["judged"].clear(), work["timed"].clear()
    for steps in ("conv2", "conv1"):
        study(graph=small, steps=steps).measure()
    assert work == {"judged": [], "timed": []} and file.read_text() == after


def test_times_may_be_those_in_int8(study, small, monkeypatch):
    monkeypatch.setattr(Inside, "judge", lambda inside, choice: (0.1, 0.9))
    one = study(graph=small, engine="ort-int8", steps="conv1,conv2")
    one.measure()
    assert not one.notes
    assert all(one.known.get(region.name, c.label).ms > 0 for region in one.regions for c in region.choices)


def test_a_target_uses_what_means_the_same_there(study, small, work):
    one = study(graph=small, steps="all")
    one.measure()
    work["judged"].clear()
    other = study(graph=small, steps="all", options=Options(target="nnie"))
    other.measure()
    assert _names(other) & _names(one)
    assert not set(work["judged"]) & _names(one)


def test_what_was_measured_without_keep_is_not_used_where_it_means_another_merge(study):
    """If the 5x5 convolution stays as it is, the 3x3 one takes the pooling branch, too."""
    name = "inception_3a", "width 0.5, absorb pooling+branches"
    study(steps="inception_3a").known.add(*name, loss=0.5)
    keeps = (Options(keep=frozenset({layer})) for layer in ("inception_3a/5x5", "conv2/3x3"))
    inside, outside = (study(steps="inception_3a", options=options) for options in keeps)
    assert name in _names(inside) and inside.known.get(*name).loss is None
    assert outside.known.get(*name).loss == 0.5


def test_a_file_of_another_network_is_refused(study, small):
    study(graph=small, steps="conv2").known.add("conv2", "leave", ms=1.0)
    other = small.copy()
    first = next(layer for layer in other.layers if layer.weights)
    first.weights = [weight + 1 for weight in first.weights]
    with pytest.raises(PlanError, match="measured on another network; give another file"):
        study(graph=other, steps="conv2")


def test_a_misspelt_region_is_found_in_a_narrow_run_too(study, small, tmp_path):
    (tmp_path / "measured.csv").write_text("region,candidate,ms\nconv1,leave,1\n")
    study(graph=small, steps="conv2")
    (tmp_path / "measured.csv").write_text("region,candidate,ms\nconw1,leave,1\n")
    with pytest.raises(PlanError, match="no region 'conw1'.*'conv1'"):
        study(graph=small, steps="conv2")


def test_every_loss_and_time_is_measured(study):
    prices = Plans(one := study()).prices
    for region in one.regions:
        assert prices[region.name][LEAVE].loss == 0.0
        assert {c.label for c in region.choices} == set(prices[region.name])
        assert all(price.ms > 0 for price in prices[region.name].values())


def test_a_devices_times_decide(study, tmp_path):
    regions = study().regions
    rows = [(r.name, c.label, 10.0 if c.label == LEAVE else 5.0) for r in regions for c in r.choices[:2]]
    (tmp_path / "measured.csv").write_text(
        "region,candidate,ms\n" + "".join(f'{region},"{choice}",{ms}\n' for region, choice, ms in rows)
    )
    chosen = choose(Plans(study()), Goal(speedup=1.9))

    assert chosen.kept
    assert set(chosen.whole.point.chosen.values()) == {r.choices[1].label for r in regions}
    assert chosen.whole.ms == pytest.approx(5.0 * len(regions))


def test_a_device_may_say_that_a_choice_takes_no_time(study, tmp_path):
    regions = study().regions
    rows = [(r.name, c.label, 10.0 if c.label == LEAVE else 0.0) for r in regions for c in r.choices[:2]]
    (tmp_path / "measured.csv").write_text(
        "region,candidate,ms\n" + "".join(f'{region},"{choice}",{ms}\n' for region, choice, ms in rows)
    )
    plans = Plans(study())
    chosen = choose(plans, Goal(speedup=1.9))
    assert chosen.kept and chosen_entry(plans, chosen)["speedup"] > 1.9


def test_a_choice_whose_answers_are_no_numbers_is_not_taken(study, small, work):
    one = study(graph=small, steps="conv2")
    one.measure()
    region = next(region for region in one.regions if region.name == "conv2")
    lost = region.choices[1].label
    one.known.add("conv2", lost, loss=math.inf)
    for again in (one, study(graph=small, steps="conv2")):
        assert lost not in Plans(again).prices["conv2"]


def test_too_few_images_are_told_at_once(study):
    with pytest.raises(PlanError, match="images is 10; choosing takes 30 or more"):
        study(images=10)


def test_a_network_with_nothing_to_choose_says_so(study):
    with pytest.raises(PlanError, match="nothing to choose"):
        study(options=Options(keep=frozenset({"Convolution", "InnerProduct"})), steps="all")


POOLS = inputs((1, 3, 12, 12)) + conv("conv1", "data", 8, "kernel_size: 3 pad: 1") + relu("conv1")
POOLS += "".join(layer(f"pool{k}", "Pooling", "conv1", f"kernel_size: {k} pad: {k // 2} stride: 1") for k in (3, 5, 9))
POOLS += layer("all", "Concat", "conv1 pool3 pool5 pool9") + conv("conv2", "all", 8, "kernel_size: 3")
POOLS += layer("small", "Pooling", "conv2", "kernel_size: 3 stride: 2") + conv("classes", "small", 5)


def test_large_poolings_are_split_whatever_is_chosen(study, tmp_path):
    graph = filled(tmp_path, POOLS)
    found = study(graph=graph, steps="all")
    (step,) = (step for step in found.recipe.steps if step.passes == ("split_pooling",))
    assert step.exact and step.layers == ("pool5", "pool9")
    plans = Plans.__new__(Plans)  # nothing is measured
    plans.study, plans.known = found, found.known
    for last in (False, True):
        recipe = plans.recipe_of(Point({one.name: one.choices[-last].label for one in found.regions}, None))
        made = module.made_by(graph, recipe)
        kernels = [one.params.kernel for one in made.layers if one.name.startswith("pool")]
        assert kernels == [(3, 3), (5, 1), (1, 5), (9, 1), (1, 9)]
        assert (len(recipe.steps) > len(found.recipe.steps)) == last


def test_a_devices_times_are_not_mixed_with_those_measured_here(study, small, tmp_path, work):
    one = study(graph=small, steps="all")
    one.known.add(WHOLE, ORIGINAL, ms=100.0)
    one.known.add(WHOLE, EXACT, ms=90.0)
    lines = [f'{r.name},"{c.label}",{10.0 if c.label == LEAVE else 4.0}' for r in one.regions for c in r.choices[:2]]
    file = tmp_path / "measured.csv"
    file.write_text(file.read_text() + "\n".join(lines) + "\n")
    plans = Plans(study(graph=small, steps="all"))
    assert plans.original_ms == pytest.approx(10.0 * len(one.regions)) and plans.rest == 0
    with open(file, "a") as lines:
        lines.write(",original,200\n")
    plans = Plans(study(graph=small, steps="all"))
    assert plans.original_ms == 200.0 and plans.rest == 0, "the exact network of this machine does not count"
    assert plans.scale == 1.0 and plans.left_ms == pytest.approx(10.0 * len(one.regions))


def test_regions_that_a_device_did_not_time_are_named(study, small, tmp_path):
    (tmp_path / "measured.csv").write_text("region,candidate,ms\nconv1,leave,1\n")
    notes = study(graph=small, steps="conv1,conv2").notes
    assert any("has no times of conv2; they are measured here (ort, 1 thread" in note for note in notes)


def test_a_device_must_time_a_region_as_it_is(study, small, tmp_path):
    label = study(graph=small, steps="conv2").regions[0].choices[1].label
    for lines in (f'conv2,"{label}",4\n', f'conv2,"{label}",4\nconv2,leave,inf\n'):
        (tmp_path / "measured.csv").write_text(f"region,candidate,ms\n{lines}")
        with pytest.raises(PlanError, match="'conv2' has no time for .* 'leave'; add the line conv2,leave,MILLI"):
            study(graph=small, steps="conv2")


def test_a_device_may_give_the_time_of_a_whole_plan(study, small, tmp_path, work):
    one = study(graph=small, steps="conv2")
    lines = [f'{r.name},"{c.label}",{10.0 if c.label == LEAVE else 4.0}' for r in one.regions for c in r.choices[:2]]
    (tmp_path / "measured.csv").write_text("\n".join(["region,candidate,ms", *lines, ""]))
    plans = Plans(study(graph=small, steps="conv2"))
    fastest = plans.points[-1]
    recipe = plans.recipe_of(fastest)
    assert plans.whole_ms(fastest, recipe) == pytest.approx(4.0 * len(one.regions)) and not plans.is_timed(recipe)
    with open(tmp_path / "measured.csv", "a") as lines:
        lines.write(f",{digest_of(recipe)},5.5\n")
    again = Plans(study(graph=small, steps="conv2"))
    assert again.whole_ms(fastest, recipe) == 5.5 and again.original_ms == pytest.approx(10.0 * len(one.regions))


def test_a_choice_that_the_engine_refuses_is_not_tried_again(study, small, monkeypatch, work):
    monkeypatch.undo()  # of work: what is timed is the real thing
    tried = []

    def times_of(stopwatch, graphs, seconds):
        tried.append(list(graphs))
        refused = [label for label in graphs if "absorb" in label][:1]
        return {label: 1.0 for label in graphs if label not in refused}, dict.fromkeys(refused, "it does not")

    monkeypatch.setattr(Inside, "judge", lambda inside, choice: (0.1, 0.9))
    monkeypatch.setattr(module.Stopwatch, "times_of", times_of)
    one = study(graph=small, steps="conv2")
    one.measure()
    lost = [(r.name, c.label) for r in one.regions for c in r.choices if one.known.get(r.name, c.label).ms == math.inf]
    assert len(lost) == 1 and any("conv2, " in note and "it does not" in note for note in one.notes)
    tried.clear()
    again = study(graph=small, steps="conv2")
    again.measure()
    assert not tried and lost[0][1] not in Plans(again).prices["conv2"]
    assert any(lost[0][1] in note and "left out" in note for note in again.notes)


def test_a_choice_that_could_not_be_loaded_is_tried_again(study, small, monkeypatch):
    tried = []

    def times_of(stopwatch, graphs, seconds):
        tried.append(list(graphs))
        lost = [label for label in graphs if "absorb" in label][:1]
        return {label: 1.0 for label in graphs if label not in lost}, dict.fromkeys(lost, Passing("out of memory"))

    monkeypatch.setattr(Inside, "judge", lambda inside, choice: (0.1, 0.9))
    monkeypatch.setattr(module.Stopwatch, "times_of", times_of)
    study(graph=small, steps="conv2").measure()
    tried.clear()
    again = study(graph=small, steps="conv2")
    again.measure()
    ((left, lost),) = tried
    assert left == f"conv2, {LEAVE}" and any(lost in note and "out of memory" in note for note in again.notes)


def test_an_engine_that_is_not_there_is_told_before_losses_are_measured(study, small, work):
    with pytest.raises(EngineError, match="there is no engine 'nonsense'"):
        study(graph=small, steps="conv2", engine="nonsense").measure()
    assert not work["judged"]


def test_what_leads_to_no_classes_is_left_as_it_is(study, tmp_path):
    side = conv("side", "pool1", 8, "kernel_size: 3 pad: 1") + relu("side")
    side += conv("far", "side", 8, "kernel_size: 3 pad: 1") + relu("far")
    side += layer("pool3", "Pooling", "far", "kernel_size: 3 stride: 2")
    side += layer("gaze", "InnerProduct", "pool3", "num_output: 1")
    one = study(graph=filled(tmp_path, SMALL + side), steps="all")
    offered = {layer: [c.label for c in region.choices] for region in one.regions for layer in region.layers}
    assert offered["far"] == [LEAVE] and len(offered["conv1"]) > 1
    assert [note for note in one.notes if "'gaze' has no classes" in note]


def test_a_narrower_run_takes_a_devices_file_of_all_choices(study, tmp_path, work):
    text = inputs((1, 3, 32, 32))
    for number, bottom in ((1, "data"), (2, "pool1")):
        text += conv(f"conv{number}", bottom, 8, "kernel_size: 3 pad: 1") + layer(
            f"bn{number}", "BatchNorm", f"conv{number}"
        )
        text += relu(f"bn{number}") + layer(f"pool{number}", "Pooling", f"bn{number}", "kernel_size: 3 stride: 2")
    graph = filled(tmp_path, text + layer("classes", "InnerProduct", "pool2", "num_output: 5"))
    wide = study(graph=graph, steps="all")
    lines = [f'{r.name},"{c.label}",{10.0 if c.label == LEAVE else 4.0}' for r in wide.regions for c in r.choices]
    (tmp_path / "measured.csv").write_text("region,candidate,ms\n" + "\n".join(lines) + "\n")
    narrow = study(graph=graph, steps="all", options=Options(keep=frozenset({"pool1"})))
    assert len(_names(narrow)) < len(_names(wide))


def test_other_images_or_another_preparation_have_a_cache_of_their_own(small, tmp_path):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    deploy = tmp_path / "deploy.prototxt"
    job = ChooseJob(small, deploy, f"folder:{tmp_path / 'photos'}")
    first = job.cache()
    assert job.cache() == first
    (tmp_path / "photos" / "cats" / "new.png").touch()
    os.utime(tmp_path / "photos" / "cats", ns=(1, 1))
    second = job.cache()
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { mean_value: 104 } }'
    (tmp_path / "train_val.prototxt").write_text(data)
    assert len({first, second, job.cache()}) == 3


@pytest.mark.parametrize(
    "spec, changed", [("folder:d", "d/cats/1.png"), ("lmdb:d", "d/data.mdb"), ("npz:1.npz", "mean")]
)
def test_what_is_overwritten_in_place_is_measured_anew(small, tmp_path, monkeypatch, spec, changed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d" / "cats").mkdir(parents=True)
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { mean_file: "mean" } }'
    (tmp_path / "train_val.prototxt").write_text(data)
    for name in ("d/cats/1.png", "d/cats/notes.txt", "d/data.mdb", "d/lock.mdb", "1.npz", "mean"):
        (tmp_path / name).write_bytes(b"1")
    job = ChooseJob(small, tmp_path / "deploy.prototxt", spec)
    first = job.cache()
    for name in ("d/cats/notes.txt", "d/lock.mdb"):
        (tmp_path / name).write_bytes(b"22")
    assert job.cache() == first
    (tmp_path / changed).write_bytes(b"22")
    assert job.cache() != first


def test_the_nearest_plan_is_the_fastest_or_the_one_that_loses_least(study, small, work, monkeypatch):
    one = study(graph=small, steps="all")
    plans = Plans(one)
    monkeypatch.setattr(Plans, "fitted", lambda plans, recipe: small)
    monkeypatch.setattr(Plans, "whole_ms", lambda plans, point, recipe: 5.0)
    assert choose(plans, Goal(budget_ms=1.0)).whole.point == plans.points[-1]
    checked = []

    def compare(answers, graph):
        checked.append(graph)
        return 0.0, 1.0 if len(checked) > 12 else 0.5

    monkeypatch.setattr("deepmerge.choose.loss.Answers.compare", compare)
    chosen = choose(plans, Goal(max_loss=1.0))
    assert set(chosen.whole.point.chosen.values()) == {LEAVE} and chosen.checked[1] == 24


def test_a_plan_is_checked_once(study, small, work, monkeypatch):
    monkeypatch.setattr(Plans, "fitted", lambda plans, recipe: small)
    first = choose(Plans(study(graph=small, steps="all")), Goal(max_loss=1.0))
    monkeypatch.delattr(Plans, "fitted")
    again = choose(Plans(study(graph=small, steps="all")), Goal(max_loss=0.5))
    assert again.kept and again.checked == first.checked == (1.0, 24)
