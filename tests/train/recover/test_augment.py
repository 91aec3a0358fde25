"""What distill shows: shifted and mixed images, the same for the same seed and batch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; extra [torch]")

from deepmerge.train.recover.augment import all_varied, varied  # noqa: E402
from deepmerge.train.shared import shifts  # noqa: E402

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3, 16, 24)).astype(np.float32))


def test_equal_for_equal_seeds_and_batches():
    assert torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 1, 5))
    assert not torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 1, 6))
    assert not torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 2, 5))
    assert varied(IMAGES, 1, 5).shape == IMAGES.shape


def test_a_quarter_is_mixed_with_its_neighbour(monkeypatch):
    monkeypatch.setattr(shifts, "SHIFT", 0.0)
    shown, before = varied(IMAGES, 3, 0), IMAGES.roll(1, 0)
    mixed = 0
    for image, other, view in zip(IMAGES, before, shown, strict=True):
        share = float(((view - other) * (image - other)).sum() / (image - other).square().sum())
        torch.testing.assert_close(view, other + share * (image - other), rtol=0, atol=1e-5)
        assert -1e-5 <= share <= 1 + 1e-5
        mixed += share < 0.9999
    assert 1 <= mixed <= 21  # 40 draws at a quarter: outside of this in one case of 10,000


def test_arrays_that_are_no_images_are_mixed_only():
    rows = IMAGES.flatten(1)
    shown = varied(rows, 0, 0)
    assert shown.shape == rows.shape and any(torch.equal(a, b) for a, b in zip(shown, rows, strict=True))


def test_views_come_again_and_a_row_may_begin_anywhere():
    opened, closed = [], []

    def batches(start):
        opened.append(start)
        try:
            while True:
                yield IMAGES + start
                start += 1
        finally:
            closed.append(True)

    whole = all_varied(batches, seed=7, first=10, period=3)
    rows = [next(whole) for _ in range(7)]
    for index, row in enumerate(rows):
        assert torch.equal(row, varied(IMAGES + 10 + index % 3, 7, 10 + index % 3))
    whole.close()
    assert opened == [10, 10, 10] and closed == [True] * 3
    behind = all_varied(batches, seed=7, first=10, period=3, start=5)
    assert torch.equal(next(behind), rows[5]) and torch.equal(next(behind), rows[6])
