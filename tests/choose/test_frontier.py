from __future__ import annotations

import pytest

from deepmerge.choose import frontier as module
from deepmerge.choose.frontier import Curves, Point, Whole, frontier, spread_out
from deepmerge.choose.knapsack import Knapsack, Price
from deepmerge.choose.plans import Plans
from deepmerge.errors import PlanError

PRICES = {
    name: {"leave": Price(10.0, 0.0), "half": Price(5.0, 0.1 * n), "most": Price(2.0, 0.5 * n)}
    for n, name in enumerate("abcd", 1)
}


def test_a_faster_plan_loses_more():
    points = frontier(Knapsack(PRICES), 1.0)

    assert points[0].predicted == Price(41.0, 0.0)
    assert points[-1].predicted.ms == 9.0
    for slow, fast in zip(points, points[1:], strict=False):
        assert fast.predicted.ms < slow.predicted.ms and fast.predicted.loss > slow.predicted.loss


def test_the_plans_to_measure_are_spread_and_end_with_the_fastest():
    points = frontier(Knapsack(PRICES), 1.0)
    chosen = spread_out(points, 4)

    assert 2 <= len(chosen) <= 4
    assert chosen[-1] == points[-1]


def _whole(ms, loss, measured_ms, measured_loss, agreement):
    return Whole(Point({}, Price(ms, loss)), measured_ms, measured_loss, agreement)


def test_curves_go_through_what_was_measured_and_never_fall():
    wholes = [_whole(20.0, 0.2, 22.0, 0.3, 0.9), _whole(10.0, 1.0, 12.0, 2.0, 0.6)]
    curves = Curves(wholes, (40.0, 40.0))

    for one in wholes:
        found = curves.corrected(one.point.predicted)
        assert (found.ms, found.loss) == (one.ms, one.loss)
        assert abs(found.agreement - one.agreement) < 1e-12
    assert curves.corrected(Price(40.0, 0.0)).agreement == 1.0
    assert abs(curves.budget(curves.corrected(Price(15.0, 0.5)).ms) - 15.0) < 1e-9


def test_a_measurement_out_of_order_is_evened_out():
    wholes = [_whole(20.0, 0.2, 22.0, 0.4, 0.85), _whole(15.0, 0.3, 16.0, 0.3, 0.9)]
    curves = Curves(wholes, (40.0, 40.0))

    assert curves.corrected(Price(20.0, 0.2)).loss <= curves.corrected(Price(15.0, 0.3)).loss


def test_a_plan_without_a_loss_changes_no_curve():
    one = _whole(20.0, 0.2, 22.0, 0.3, 0.9)
    with_it = Curves([one, _whole(10.0, 1.0, 12.0, float("inf"), 0.0)], (40.0, 40.0))
    assert with_it.corrected(Price(20.0, 0.4)).loss == Curves([one], (40.0, 40.0)).corrected(Price(20.0, 0.4)).loss


def test_where_no_plan_has_a_loss_the_sums_stay_and_the_agreement_is_unknown():
    curves = Curves([_whole(20.0, 0.2, 22.0, float("inf"), 0.0)], (40.0, 40.0))
    found = curves.corrected(Price(20.0, 0.2))
    assert (found.ms, found.loss, found.agreement) == (22.0, 0.2, None)


def test_without_scipy_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(PlanError, match="needs SciPy"):
        Plans(None)
