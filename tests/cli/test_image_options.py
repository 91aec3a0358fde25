"""The option types that turn words into numbers."""

from __future__ import annotations

import math

import click
import pytest

from deepmerge.cli.image_options import Number, Numbers, Size, Tolerance


@pytest.mark.parametrize(
    ("kind", "word", "value"),
    [
        (Number(), "-0.5", -0.5),
        (Numbers(), "104,117,123", (104, 117, 123)),
        (Numbers(), "-1.5", (-1.5,)),
        (Size(), "640,480", (640, 480)),
        (Tolerance(), "0", 0),
        (Tolerance(), "1e-3", 1e-3),
        (Tolerance(), "none", math.inf),
        (Tolerance(), "inf", math.inf),
    ],
)
def test_words(kind, word, value):
    assert kind.convert(word, None, None) == value
    assert kind.convert(kind.convert(word, None, None), None, None) == value  # click may convert twice


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (Number(), "nan"),
        (Number(), "inf"),
        (Number(), "x"),
        (Numbers(), ""),
        (Numbers(), "1,,2"),
        (Numbers(), "nan"),
        (Numbers(), "inf"),
        (Size(), "640"),
        (Size(), "640,480,3"),
        (Size(), "6.4,4"),
        (Size(), "-1,4"),
        (Tolerance(), "-1"),
        (Tolerance(), "nan"),
        (Tolerance(), "x"),
    ],
)
def test_other_words(kind, word):
    with pytest.raises(click.BadParameter):
        kind.convert(word, None, None)
