"""Shifts move whole images, each its own way."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; extra [torch]")

from deepmerge.train.shared.shifts import shifted  # noqa: E402


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


def test_equal_for_equal_seeds():
    images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    a, b = (shifted(images, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(a, b)
