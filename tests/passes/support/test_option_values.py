from __future__ import annotations

import pytest

from deepmerge.passes.decompose_tucker import parse_rank
from deepmerge.passes.support import option_values
from deepmerge.passes.support.base import Options


def test_the_defaults_are_among_them():
    options = Options()
    assert options.kernel in option_values.KERNELS and options.init in option_values.INITS
    assert options.absorb == option_values.ABSORB
    assert option_values.width(options.width) == options.width and option_values.rank(options.rank) == options.rank


@pytest.mark.parametrize(
    "value, expected", [("0.5", 0.5), ("0.25", 0.25), (0.5, 0.5), (1, 1.0), (0.001, 0.001), ("full", "full")]
)
def test_width(value, expected):
    assert option_values.width(value) == expected


@pytest.mark.parametrize("value", ["0", 0, -0.5, -1, 1.5, "half", "", "nan", "inf", float("nan"), True, None, [], {}])
def test_width_that_is_none(value):
    with pytest.raises(ValueError, match="is neither a number above 0 and up to 1 nor 'full'"):
        option_values.width(value)


@pytest.mark.parametrize("value", ["vbmf", "energy:0.95", "ratio:1", "ratio:1e-3", "macs:0.4"])
def test_rank(value):
    assert option_values.rank(value) == value
    parse_rank(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "vbmf:",
        "vbmf:1",
        "energy",
        "energy:",
        "energy:0",
        "energy:2",
        "ratio:0",
        "ratio:1.01",
        "rank:3",
        "svd",
        "energy:nan",
        3,
        None,
    ],
)
def test_rank_that_is_none(value):
    with pytest.raises(ValueError, match="is none of vbmf, energy:SHARE, ratio:SHARE and macs:SHARE"):
        option_values.rank(value)
