"""The resize against Pillow where both agree (enlarging), and against the definition pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmerge.data.resize import resize


def by_definition(pixels, height, width):
    """Each output pixel's centre is a point of the input; its value lies between the four pixels around that point."""
    rows, columns, channels = pixels.shape
    out = np.empty((height, width, channels))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            above = pixels[top, left] * (1 - (x - left)) + pixels[top, right] * (x - left)
            below = pixels[bottom, left] * (1 - (x - left)) + pixels[bottom, right] * (x - left)
            out[i, j] = above * (1 - (y - top)) + below * (y - top)
    return out


@pytest.fixture
def pixels():
    return np.random.default_rng(5).integers(0, 256, (13, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(26, 20), (5, 4), (1, 1), (6, 31), (13, 9), (40, 3)])
def test_half_pixel_centres_without_antialiasing(pixels, height, width):
    made = resize(pixels, height, width)
    assert made.shape == (height, width, 3) and made.dtype == np.float32
    np.testing.assert_allclose(made, by_definition(pixels.astype(float), height, width), atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(13, 9), (29, 10), (64, 57)])
def test_enlarging_is_what_pillow_does(pixels, height, width):
    planes = [
        np.asarray(
            Image.fromarray(pixels[:, :, c].astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        )
        for c in range(3)
    ]
    np.testing.assert_allclose(resize(pixels, height, width), np.stack(planes, 2), atol=1e-3)


def test_shrinking_is_not():
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    pillow = np.asarray(Image.fromarray(stripes).resize((8, 8), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(resize(stripes, 8, 8) - pillow).max() > 50  # Pillow averages over what it leaves out
