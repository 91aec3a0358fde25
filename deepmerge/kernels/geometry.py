"""Windows one after the other along one axis: receptive fields, strides and pads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The receptive field of one output: `size` values of the input, moving by `stride` from output to output.

    Output 0 reads the values from `start` on; a negative one is in the padding.
    """

    size: int
    stride: int
    start: int

    @property
    def centre(self) -> float:
        """The middle of output 0's values."""
        return self.start + (self.size - 1) / 2

    def then(self, kernel: int, stride: int, pad: int) -> Span:
        """Return the span of a window over this one's outputs."""
        return Span(self.size + (kernel - 1) * self.stride, self.stride * stride, self.start - pad * self.stride)


def window(kernel: int, stride: int, pad: int, dilation: int = 1) -> Span:
    """Return the span of one window."""
    return Span(dilation * (kernel - 1) + 1, stride, -pad)


def pad_for(size: int, out: int, extent: int, span: Span) -> int | None:
    """Return the pad with which a window of `extent` (dilated) at the span's stride makes `out` values of `size`.

    Of several, the one that puts the window's middle nearest to the span's; None if there is none.
    """
    rooms = {pad: size + 2 * pad - extent for pad in range(extent)}
    fits = [pad for pad, room in rooms.items() if room >= 0 and room // span.stride + 1 == out]
    return min(fits, key=lambda pad: (abs(-pad + (extent - 1) / 2 - span.centre), pad), default=None)
