from __future__ import annotations

import pytest

from deepmerge.measure.harness.words import milliseconds, times_as_fast


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.000"), (4.5e-7, "0.000"), (0.00012345, "0.123"), (0.0012345, "1.23"), (0.12345, "123"), (12.3456, "12346")],
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_a_ratio_of_times_is_a_speed_up():
    assert times_as_fast(None) == "1"
    assert times_as_fast({"value": 0.25, "low": 0.2, "high": 0.5}) == "4.00 (2.00–5.00)"
