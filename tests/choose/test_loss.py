from __future__ import annotations

import pytest

from deepmerge.choose.loss import Answers, Regions
from deepmerge.passes.support.base import Options
from deepmerge.plan.region_choices import LEAVE


@pytest.fixture(scope="module")
def inside(network, images):
    from deepmerge.choose.job import Job
    from deepmerge.choose.study import Study

    job = Job(network.graph, network.prototxt, images, images=48, steps="inception_3b")
    study = Study(job)
    answers = Answers(network.graph, study.sets.input, study.sets.judge, 1)
    walk = Regions(study.exact, study.sets, answers, Options(), 1)
    (region,) = study.regions
    found = walk.enter(region)
    yield region, found
    found.close()


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
