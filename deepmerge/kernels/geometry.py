"""Windows one behind the other, along one axis: receptive fields, strides and pads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """What one output sees of the input: `size` values, `stride` apart from output to output.

    Output 0 sees the values from `start` on (negative: in the padding).
    """

    size: int
    stride: int
    start: int

    @property
    def centre(self) -> float:
        return self.start + (self.size - 1) / 2

    def then(self, kernel: int, stride: int, pad: int) -> Span:
        """The span of a window over this one's outputs."""
        return Span(self.size + (kernel - 1) * self.stride, self.stride * stride, self.start - pad * self.stride)


def window(kernel: int, stride: int, pad: int, dilation: int = 1) -> Span:
    return Span(dilation * (kernel - 1) + 1, stride, -pad)


def pad_for(size: int, out: int, extent: int, span: Span) -> int | None:
    """The pad with which a window of `extent` (dilated) at the span's stride makes `out` values of `size`.

    Of several, the one that puts the window's middle nearest to the span's; None where there is none.
    """
    rooms = {pad: size + 2 * pad - extent for pad in range(extent)}
    fits = [pad for pad, room in rooms.items() if room >= 0 and room // span.stride + 1 == out]
    return min(fits, key=lambda pad: (abs(-pad + (extent - 1) / 2 - span.centre), pad), default=None)
