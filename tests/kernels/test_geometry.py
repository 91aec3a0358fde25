"""Windows behind windows, against windows walked one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepmerge.kernels.compose import Span, pad_for, window

WINDOWS = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))


def seen(place: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> list[int]:
    """The values that a window takes to make one output."""
    return [place * stride - pad + tap * dilation for tap in range(kernel)]


@given(WINDOWS, WINDOWS, st.integers(0, 4))
def test_a_window_behind_a_window(first, second, place):
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
