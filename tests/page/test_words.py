from __future__ import annotations

import pytest

from deepmerge.page.words import count, left, many, milliseconds, share, size, times


@pytest.mark.parametrize(
    "number, told",
    [
        (0, "0"),
        (17, "17"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_900, "1.00 M"),
        (1_582_671_872, "1.58 G"),
        (5e12, "5,000 G"),
    ],
)
def test_many(number, told):
    assert many(number) == told


@pytest.mark.parametrize("number, told", [(0, "0 B"), (512, "512 B"), (4096, "4.10 kB"), (27_300_000, "27.3 MB")])
def test_size(number, told):
    assert size(number) == told


def test_the_rest():
    assert (count(1, "step"), count(1200, "step")) == ("1 step", "1,200 steps")
    assert (left(4, 1), left(0, 1), left(None, 1), left(4, None), left(4, 0)) == ("25.0%", "–", "–", "–", "0.0%")
    assert [milliseconds(s) for s in (1.5, 0.0123, 0.001234, 0.0000123)] == [
        "1,500 ms",
        "12.3 ms",
        "1.23 ms",
        "0.012 ms",
    ]
    assert (share(0.5), times(3.9), times(12.34)) == ("50.0%", "3.90×", "12.3×")
