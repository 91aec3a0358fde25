"""What makes a Scale or Bias a map by channel. What folding computes is in test_fold_batchnorm.py and test_fold_scale.py."""

from __future__ import annotations

import pytest

from deepmerge.graph.graph import Layer
from deepmerge.graph.params import Scale
from deepmerge.passes.support.affine import by_channel


@pytest.mark.parametrize(
    ("axis", "num_axes", "shape", "expected"),
    [
        (1, 1, (2, 3, 4, 5), True),
        (-3, 1, (2, 3, 4, 5), True),
        (2, 1, (2, 3, 4, 5), False),
        (0, 2, (1, 3, 4, 5), False),
        (1, 0, (2, 3, 4, 5), False),  # one scalar
        (1, 3, (2, 3, 4, 5), False),
        (1, 3, (2, 3, 1, 1), True),  # the other axes have one value
        (1, -1, (2, 3, 1, 1), True),
        (1, -1, (2, 3, 1, 2), False),
        (-1, 1, (2, 3), True),
        (1, 1, None, True),  # shapes are not known: only what cannot be anything else
        (-3, 1, None, False),
        (1, 1, (2,), True),
        (1, -1, (2,), False),
    ],
)
def test_by_channel(axis, num_axes, shape, expected):
    assert by_channel(Layer("s", "Scale", Scale(axis=axis, num_axes=num_axes)), shape) == expected
