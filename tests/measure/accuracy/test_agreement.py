"""Agreement of two networks' scores, against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepmerge.measure.accuracy.agreement import Agreement, softmax


def agreement(a, b, split=1):
    found = Agreement()
    for start in range(0, len(a), split):
        found.add(np.array(a[start : start + split], np.float32), np.array(b[start : start + split], np.float32))
    return found.report()


def test_probabilities():
    """KL of (1/2, 1/2) from (1/4, 3/4) is ½ ln 2 + ½ ln ⅔."""
    report = agreement([[0.25, 0.75], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]])
    assert report["kl"] == pytest.approx((0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2)
    assert report["max_abs"] == 0.25 and report["top1"] == 0.5 and report["softmax"] is False


def test_a_probability_of_nothing():
    report = agreement([[1, 0], [1, 0]], [[1, 0], [0, 1]])
    assert report["top1"] == 0.5 and report["max_abs"] == 1 and math.isfinite(report["kl"]) and report["kl"] > 10
    assert agreement([[1, 0]], [[1, 0]])["kl"] == 0


@pytest.mark.parametrize("split", [1, 2, 5])
def test_other_scores_go_through_a_softmax(split):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5, 4)) * 3
    report = agreement(a, b, split)
    p, q = softmax(b.astype(np.float32).astype(float)), softmax(a.astype(np.float32).astype(float))
    assert report["softmax"] is True and report["kl"] == pytest.approx(
        float((p * np.log(p / q)).sum(1).mean()), rel=1e-9
    )
    assert report["top1"] == (a.argmax(1) == b.argmax(1)).mean() and report["max_abs"] == pytest.approx(
        np.abs(a - b).max(), rel=1e-6
    )
    assert agreement(a, a)["kl"] == 0
    assert agreement(a + 1000, b)["kl"] == pytest.approx(report["kl"], rel=1e-3)


def test_nan():
    report = agreement([[np.nan, 1], [1, 0]], [[0, 1], [1, 0]])
    assert report == {"top1": 0.5, "kl": None, "max_abs": None, "softmax": False}


@pytest.mark.parametrize(
    ("a", "b", "kl", "max_abs"),
    [
        ([np.inf, 0], [1, 0], None, None),
        ([np.inf, 0], [np.inf, 0], None, None),
        ([-np.inf, 0], [-np.inf, 0], 0.0, None),
        ([3, 0], [3, 0], 0.0, 0.0),
    ],
)
def test_infinite_scores(a, b, kl, max_abs):
    """JSON has no infinity and no NaN."""
    assert agreement([a, a], [b, b]) == {"top1": 1.0, "kl": kl, "max_abs": max_abs, "softmax": True}
