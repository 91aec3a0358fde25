"""Shifted and mixed images, the same for the same seed and batch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; extra [torch]")

from deepmerge.train.shared.augment import all_varied, shifted, varied  # noqa: E402

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3, 16, 24)).astype(np.float32))


def test_equal_for_equal_seeds_and_batches():
    assert torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 1, 5))
    assert not torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 1, 6))
    assert not torch.equal(varied(IMAGES, 1, 5), varied(IMAGES, 2, 5))
    assert varied(IMAGES, 1, 5).shape == IMAGES.shape


def test_a_quarter_is_mixed_with_its_neighbour():
    shown, before = varied(IMAGES, 3, 0, shift=0.0), IMAGES.roll(1, 0)
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


def test_a_row_of_views_may_begin_anywhere():
    closed = []

    def batches(start):
        try:
            while True:
                yield IMAGES + start
                start += 1
        finally:
            closed.append(True)

    whole, later = (all_varied(batches, seed=7, first=first) for first in (10, 12))
    rows = [next(whole) for _ in range(4)]
    for index, row in enumerate(rows):
        assert torch.equal(row, varied(IMAGES + (10 + index), 7, 10 + index))
    assert torch.equal(next(later), rows[2]) and torch.equal(next(later), rows[3])
    whole.close()
    assert closed == [True]


def test_whole_images_are_moved():
    images = np.random.default_rng(0).normal(size=(40, 3, 16, 24)).astype(np.float32)
    seen = set()
    moved = shifted(torch.from_numpy(images), np.random.default_rng(0)).numpy()
    for image, shown in zip(images, moved, strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (3, 3)), "edge")
        found = [
            (dy, dx)
            for dy in range(5)
            for dx in range(7)
            if np.array_equal(shown, padded[:, dy : dy + 16, dx : dx + 24])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 10


def test_shifts_are_equal_for_equal_seeds():
    images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    a, b = (shifted(images, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(a, b)
