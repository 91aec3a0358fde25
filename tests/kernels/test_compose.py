"""Composition of convolutions, kernels inside larger ones, and windows after windows, walked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.kernels.compose import Span, compose_convolutions, embed_at, pad_for, spread_average, window

WINDOWS = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def at_one_place(weight: np.ndarray, bias: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    """The convolution at one place: the image is as large as the kernel."""
    return np.einsum("nchw,chw->n", weight.astype(float), image) + (0 if bias is None else bias)


@pytest.mark.parametrize("first_bias", [True, False])
@pytest.mark.parametrize("second_bias", [True, False])
def test_kxk_then_1x1(first_bias, second_bias):
    a, b = (
        (f32(5, 3, 3, 2), f32(5, seed=1) if first_bias else None),
        (f32(4, 5, 1, 1, seed=2), f32(4, seed=3) if second_bias else None),
    )
    weight, bias = compose_convolutions(a[0], a[1], b[0], b[1])
    image = f32(3, 3, 2, seed=4)
    wanted = at_one_place(*b, at_one_place(*a, image)[:, None, None])
    assert weight.shape == (4, 3, 3, 2) and weight.dtype == np.float32
    assert (bias is None) == (not first_bias and not second_bias)
    np.testing.assert_allclose(at_one_place(weight, bias, image), wanted, atol=1e-5)


@pytest.mark.parametrize("first_bias", [True, False])
def test_1x1_then_kxk(first_bias):
    a, b = (f32(5, 3, 1, 1), f32(5, seed=1) if first_bias else None), (f32(4, 5, 2, 3, seed=2), f32(4, seed=3))
    weight, bias = compose_convolutions(*a, *b)
    image = f32(3, 2, 3, seed=4)
    middle = np.einsum("mc,chw->mhw", a[0][:, :, 0, 0].astype(float), image)
    middle = middle + (0 if a[1] is None else a[1][:, None, None])
    assert weight.shape == (4, 3, 2, 3)
    np.testing.assert_allclose(at_one_place(weight, bias, image), at_one_place(*b, middle), atol=1e-5)


def test_a_corner_and_zeros_around():
    weight = f32(2, 3, 1, 2)
    wide = embed_at(weight, 4, 5, 2, 1)
    assert wide.shape == (2, 3, 4, 5) and wide.dtype == np.float32
    np.testing.assert_array_equal(wide[:, :, 2:3, 1:3], weight)
    assert np.count_nonzero(wide) == np.count_nonzero(weight)


@pytest.mark.parametrize(("size", "step"), [((2, 3), (1, 1)), ((3, 1), (2, 2)), ((1, 1), (4, 4)), ((2, 2), (1, 3))])
def test_a_mean_over_windows_is_the_mean_of_places(size, step):
    weight = f32(4, 2, 3, 2)
    kernel = spread_average(weight, size, step)
    height, width = 3 + (size[0] - 1) * step[0], 2 + (size[1] - 1) * step[1]
    assert kernel.shape == (4, 2, height, width)
    image = np.random.default_rng(1).normal(0, 1, (2, height, width))
    places = [
        np.einsum("nchw,chw->n", weight, image[:, y * step[0] : y * step[0] + 3, x * step[1] : x * step[1] + 2])
        for y in range(size[0])
        for x in range(size[1])
    ]
    np.testing.assert_allclose(np.einsum("nchw,chw->n", kernel, image), np.mean(places, axis=0), atol=1e-5)


def seen(place: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> list[int]:
    """The values that a window takes to make one output."""
    return [place * stride - pad + tap * dilation for tap in range(kernel)]


@given(WINDOWS, WINDOWS, st.integers(0, 4))
def test_a_window_after_a_window(first, second, place):
    span = window(*first).then(*second[:3])
    values = [v for p in seen(place, *second[:3]) for v in seen(p, *first)]
    assert (min(values), max(values)) == (
        span.start + place * span.stride,
        span.start + place * span.stride + span.size - 1,
    )
    assert span.centre == span.start + (span.size - 1) / 2


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(-6, 0)
)
def test_a_pad_that_gives_the_size(size, out, extent, span_size, stride, start):
    span = Span(span_size, stride, start)
    fits = [p for p in range(extent) if size + 2 * p >= extent and (size + 2 * p - extent) // stride + 1 == out]
    pad = pad_for(size, out, extent, span)
    assert (pad is None) == (not fits)
    if fits:
        assert pad in fits

        def off_centre(p):
            return abs(-p + (extent - 1) / 2 - span.centre)

        assert off_centre(pad) == min(map(off_centre, fits))


def test_alexnets_first_convolution_and_pooling():
    """11x11 at stride 4 of 227, then 3x3 at stride 2: 27 outputs at stride 8, each sees 19; 11 alone make 28."""
    span = window(11, 4, 0).then(3, 2, 0)
    assert span == Span(19, 8, 0)
    assert pad_for(227, 27, 19, span) == 0
    assert pad_for(227, 27, 11, span) is None


def test_googlenets_first_convolution_and_pooling():
    """7x7 at stride 2, pad 3, of 224, then 3x3 at stride 2 rounded up: 56 outputs."""
    span = window(7, 2, 3).then(3, 2, 0)
    assert span == Span(11, 4, -3)
    assert pad_for(224, 56, 7, span) in range(7) and pad_for(224, 56, 11, span) in range(11)


def test_no_pad_is_large_enough():
    assert pad_for(4, 9, 1, window(1, 1, 0)) is None
