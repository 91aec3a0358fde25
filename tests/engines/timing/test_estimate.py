"""The estimator against machines that are as noisy as machines are: drift, spikes, bursts, two speeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.engines.timing.estimate import ratio_of_pairs, spread


def slowdowns(kind: str, count: int, rng) -> np.ndarray:
    """What the machine multiplies each of `count` runs by, one after the other."""
    logs = rng.normal(0, 0.01, count)
    if kind == "drift":
        logs += np.cumsum(rng.normal(0, 0.02, count))
    elif kind == "ramp":
        logs += np.linspace(0, 1, count)
    elif kind == "spikes":
        logs += np.where(rng.random(count) < 0.2, rng.exponential(0.4, count), 0)
    elif kind == "bursts":  # somebody else's job comes and goes
        busy = False
        for i in range(count):
            busy = rng.random() < (0.85 if busy else 0.1)
            logs[i] += busy * abs(rng.normal(0.5, 0.2))
    elif kind == "speeds":  # a clock that changes
        slow = 0.0
        for i in range(count):
            slow = 0.25 - slow if rng.random() < 0.05 else slow
            logs[i] += slow
    return np.exp(logs)


def pairs(kind: str, true: float, rounds: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Times of a network and of the one it is compared with, measured in turns: A B, B A, A B …"""
    noise = slowdowns(kind, 2 * rounds, rng).reshape(rounds, 2)
    noise[1::2] = noise[1::2, ::-1]
    return true * noise[:, 1], noise[:, 0]


KINDS = ("quiet", "drift", "ramp", "spikes", "bursts", "speeds")


@pytest.mark.parametrize("true", [1.0, 0.25])
@pytest.mark.parametrize("kind", KINDS)
def test_within_three_percent_with_forty_rounds(kind, true):
    rng = np.random.default_rng(1)
    errors = [abs(ratio_of_pairs(*pairs(kind, true, 40, rng)).value / true - 1) for _ in range(300)]
    assert np.mean(np.array(errors) < 0.03) >= 0.99, max(errors)
    assert np.quantile(errors, 0.9) < 0.015


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_holds_the_truth(kind):
    rng = np.random.default_rng(2)
    found = [ratio_of_pairs(*pairs(kind, 0.5, 40, rng)) for _ in range(400)]
    assert np.mean([r.low <= 0.5 <= r.high for r in found]) >= 0.92  # 95 % but for the sampling of 400
    assert all(r.low <= r.value <= r.high for r in found)


def test_a_ratio_of_few_pairs_has_their_range():
    ratio = ratio_of_pairs([1.0, 2.0, 4.0], [4.0, 4.0, 4.0])
    assert (ratio.value, ratio.low, ratio.high, ratio.pairs) == (0.5, 0.25, 1.0, 3)
    assert ratio.half_width == pytest.approx(np.log(4) / 2)


times = st.lists(st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)), min_size=1, max_size=50)


@given(times, st.floats(1e-3, 1e3))
def test_scale_and_order_of_pairs_do_not_matter(pairs, factor):
    a, b = zip(*pairs, strict=True)
    ratio = ratio_of_pairs(a, b)
    assert ratio.low <= ratio.value * (1 + 1e-12) and ratio.value <= ratio.high * (1 + 1e-12)
    assert ratio_of_pairs([factor * x for x in a], b).value == pytest.approx(factor * ratio.value, rel=1e-9)
    assert ratio_of_pairs(a[::-1], b[::-1]).value == pytest.approx(ratio.value)
    assert ratio_of_pairs(b, a).value == pytest.approx(1 / ratio.value, rel=1e-9)


def test_quartiles():
    found = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.median, found.high, found.count) == (2, 3, 4, 5)
    for empty in (lambda: spread([]), lambda: ratio_of_pairs([], [])):
        with pytest.raises(ValueError):
            empty()
