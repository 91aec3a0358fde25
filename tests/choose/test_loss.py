from __future__ import annotations

import math
from contextlib import closing

import numpy as np
import pytest

from deepmerge.choose import loss as module
from deepmerge.choose.loss import Answers, Regions
from deepmerge.passes.support.base import Options
from deepmerge.plan.region_choices import LEAVE
from tests.helpers import conv, inputs, layer
from tests.helpers import network as filled


@pytest.fixture(scope="module")
def regions(network, images):
    """What makes Regions, and the region inception_3b."""
    from deepmerge.choose.job import ChooseJob
    from deepmerge.choose.study import Study

    study = Study(ChooseJob(network.graph, network.prototxt, images, images=48, steps="inception_3b"))
    answers = Answers(network.graph, study.sets.input, study.sets.judge, 1)
    (region,) = study.regions
    return lambda: Regions(study.exact, study.sets, answers, Options(), 1), region


@pytest.fixture(scope="module")
def inside(regions):
    make, region = regions
    with closing(make().enter(region)) as found:
        yield region, found


def test_leaving_a_region_loses_nothing(inside):
    region, found = inside
    loss, agreement = found.judge(region.find(LEAVE))
    assert loss < 1e-9 and agreement == 1.0


def test_a_wider_reducer_loses_less(inside):
    region, found = inside
    losses = [
        found.judge(found.settled(region.find(f"width {w}, absorb branches, kernel keep")))[0] for w in (0.25, 0.75)
    ]
    assert 0 < losses[1] < losses[0]


def test_the_channels_of_all_widths_are_beginnings_of_one_order(inside):
    region, found = inside
    few, many = (
        found.settled(region.find(f"width {w}, absorb branches, kernel keep")).steps[0].options["channels"]
        for w in (0.25, 0.75)
    )
    assert few.keys() == many.keys() and few
    assert all(set(few[name]) < set(many[name]) for name in few)


def test_with_little_memory_nothing_is_kept_and_the_loss_is_the_same(regions, inside, monkeypatch):
    make, region = regions
    choice = inside[1].settled(region.find("width 0.5, absorb branches, kernel keep"))
    wanted = inside[1].judge(choice)
    assert module.MEMORY - inside[1]._room.left > 10_000
    monkeypatch.setattr(module, "MEMORY", 10_000)
    with closing(make().enter(region)) as found:
        assert found.settled(choice).steps == choice.steps
        assert found.judge(choice) == pytest.approx(wanted, abs=1e-6)
        assert 0 <= found._room.left <= 10_000
        assert all(walk._kept is None for walk in (found.regions._fit, found.regions._judge))


def _merged(name, bottom, then=""):
    text = conv(name, bottom, 8, "kernel_size: 3 pad: 1") + layer(f"{name}_norm", "LRN", name, "local_size: 3")
    return text + then


EARLIER = (
    inputs((1, 3, 32, 32)) + _merged("conv1", "data") + layer("early", "InnerProduct", "conv1_norm", "num_output: 4")
)
EARLIER += _merged("conv2", "conv1_norm") + layer("late", "InnerProduct", "conv2_norm", "num_output: 5")


def test_outputs_may_come_before_a_region(study, tmp_path):
    one = study(graph=filled(tmp_path, EARLIER), steps="all")
    regions = Regions(one.exact, one.sets, one.answers, Options(), 1)
    judged = {}
    for region in one.regions:
        with closing(regions.enter(region)) as inside:
            judged[region.name] = inside.judge(region.find(LEAVE)), inside.judge(region.choices[1])
    assert list(judged) == ["conv1", "late"]
    assert all(left == (pytest.approx(0.0, abs=1e-6), 1.0) and 0 < loss[0] < math.inf for left, loss in judged.values())


def test_answers_that_are_no_probabilities_lose_everything(study, tmp_path):
    answers = study(graph=filled(tmp_path, EARLIER), steps="all").answers
    wanted = list(answers.wanted)
    for wrong in (np.inf, np.nan):
        found = ({name: np.full_like(scores, wrong) for name, scores in batch.items()} for batch in wanted)
        with np.errstate(invalid="ignore"):
            assert answers.against(found)[0] == math.inf
