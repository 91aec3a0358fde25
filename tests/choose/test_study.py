from __future__ import annotations

import pytest

from deepmerge.choose import study as module
from deepmerge.choose.goal import Goal, choose
from deepmerge.errors import PlanError
from deepmerge.plan.region_choices import LEAVE


def test_measured_choices_give_the_same_plan_again_and_measure_nothing(study, monkeypatch):
    first = choose(study(), Goal(speedup=1.05))

    def forbidden(*_, **__):
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(module, "times_of", forbidden)
    monkeypatch.setattr(module, "image_sets", forbidden)
    assert choose(study(), Goal(speedup=1.05)).recipe == first.recipe


def test_a_study_that_was_stopped_goes_on_where_it_was(study, tmp_path):
    whole = study()
    whole.measure()
    file = tmp_path / "measured.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))

    again = study()
    again.measure()

    added = file.read_text().splitlines()
    assert len(added) == len(lines), "only what was missing is measured"
    assert {r: set(c) for r, c in again.prices.items()} == {r: set(c) for r, c in whole.prices.items()}


def test_every_loss_and_time_is_measured(study):
    found = study()
    found.measure()
    for region in found.regions:
        assert found.prices[region.name][LEAVE].loss == 0.0
        assert {c.label for c in region.choices} == set(found.prices[region.name])
        assert all(price.ms > 0 for price in found.prices[region.name].values())


def test_a_devices_times_decide(study, tmp_path):
    regions = study().regions
    rows = [(r.name, c.label, 10.0 if c.label == LEAVE else 5.0) for r in regions for c in r.choices[:2]]
    (tmp_path / "measured.csv").write_text(
        "region,candidate,ms\n" + "".join(f'{region},"{choice}",{ms}\n' for region, choice, ms in rows)
    )
    found = study()
    chosen = choose(found, Goal(speedup=1.9))

    assert chosen.kept
    assert set(chosen.whole.point.chosen.values()) == {r.choices[1].label for r in regions}
    assert chosen.whole.ms == pytest.approx(5.0 * len(regions))


def test_a_network_with_nothing_to_choose_says_so(study):
    with pytest.raises(PlanError, match="nothing to choose"):
        study(options=module.Options(keep=frozenset({"Convolution", "InnerProduct"})), steps="all")
