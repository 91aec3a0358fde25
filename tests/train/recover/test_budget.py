"""How the time is divided among the stages."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from deepmerge.train.recover import budget
from deepmerge.train.recover.budget import (
    IMAGES,
    WORK,
    after,
    default_batch_size,
    default_iterations,
    divided,
    measure,
    steady,
    usual_stages,
)
from deepmerge.train.recover.spec import Settings


def test_stages_share_the_time():
    assert divided(1000, {"tail": steady(0.1), "distill": steady(0.5)}) == {"tail": 5000, "distill": 1000}


@pytest.mark.parametrize(
    ("macs", "device", "cut", "solved", "stages"),
    [
        (1_600_000_000, "cpu", ("front", "tail"), False, ("lsq", "front", "tail")),
        (1_600_000_000, "cpu", (), False, ("lsq", "distill")),
        (1_600_000_000, "cuda:1", ("front", "tail"), False, ("lsq", "distill")),
        (18_000_000, "cpu", ("front", "tail"), False, ("lsq", "distill")),
        (1_600_000_000, "cpu", ("tail",), True, ("tail",)),
        (18_000_000, "cpu", (), True, ("distill",)),
    ],
)
def test_usual_stages_suit_the_networks(macs, device, cut, solved, stages):
    assert usual_stages(macs, device, cut, solved) == stages


def test_a_measured_batch_includes_its_making():
    torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")
    now = [0.0]

    def slowly():
        while True:
            now[0] += 0.02
            yield torch.zeros(8)

    settings = Settings(clock=lambda: now[0], measured_seconds=0.1)
    assert measure(lambda batch: None, slowly(), torch.device("cpu"), settings) == pytest.approx(0.02)


def test_stages_that_are_left_out_leave_their_time_to_the_others():
    assert divided(100, {"distill": steady(1.0)}) == {"distill": 100}


def test_stages_that_would_starve_leave_their_time_to_the_others():
    fits = {"tail": steady(0.1), "distill": steady(1.0)}
    assert divided(15, fits) == {"tail": 150}
    assert divided(0.9, fits) == {} == divided(-1, fits)
    assert after(5, steady(0.5))(9) == 8 and after(5, steady(0.5))(4) == 0


def test_defaults_depend_on_the_networks_alone():
    small = default_iterations(("lsq", "tail", "distill"), 100, (18_000_000, 6_000_000))
    assert small == {stage: IMAGES / 2 / 100 for stage in ("tail", "distill")}
    (large,) = default_iterations(("distill",), 32, (1_600_000_000, 800_000_000)).values()
    assert large * 32 * 4e9 == pytest.approx(WORK, rel=0.01)
    assert [default_batch_size(macs, "cpu") for macs in (18e6, 100e6, 1600e6)] == [128, 64, 64]
    assert default_batch_size(1600e6, "cuda") == 128


@pytest.mark.parametrize("keeps_start", [True, False])
def test_later_rounds_make_images_only_where_they_are_not_kept(monkeypatch, keeps_start):
    objective = SimpleNamespace(parameters=[], keeps_start=keeps_start, start="data")
    seen = []

    def measured(step, images, device, settings):
        seen.append([next(images), next(images)])
        return 1.0

    for name, made in (
        ("make_objective", lambda *_: objective),
        ("image_batches", lambda *_: (number for number in itertools.count())),
        ("Trainer", lambda *_: None),
        ("measure", measured),
        ("_overhead", lambda *_: 0.0),
    ):
        monkeypatch.setattr(budget, name, made)
    fits = budget.measured_fits(SimpleNamespace(device=None, settings=None), ["front"], False)
    (first, second), (third, fourth) = seen
    assert first != second and (third == fourth) is keeps_start
    assert fits["front"](10.0) == 10
