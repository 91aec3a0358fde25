"""The windows of poolings, against the loops of Caffe's pooling_layer.cpp."""

from __future__ import annotations

import itertools

import pytest

from deepmerge.graph.params import Pooling
from deepmerge.graph.windows import Windows, pooling_windows, pyramid_windows


@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize("ceil", [True, False])
def test_windows_of_a_pooling(ceil, pad):
    for size, kernel, stride in itertools.product(range(3, 9), (3, 4), (1, 2, 3)):
        params = Pooling(
            kernel_h=kernel, kernel_w=3, stride_h=stride, stride_w=1, pad_h=pad, pad_w=pad, ceil=ceil, pool="AVE"
        )
        high, wide = pooling_windows(params, (size, 7))
        assert (wide.size, wide.kernel, wide.stride, wide.pad) == (7, 3, 1, pad)
        counted = []
        for place in range(high.out):
            start = place * stride - pad
            counted.append(min(start + kernel, size + pad) - start)
        assert high.counted.tolist() == counted
        assert high.size + high.pad + high.end_pad >= (high.out - 1) * stride + kernel


def test_a_global_pooling_is_one_whole_window():
    windows = pooling_windows(Pooling(global_pooling=True), (5, 7))
    assert windows == [Windows(5, 5, 1, 0, 1), Windows(7, 7, 1, 0, 1)] and all(w.whole for w in windows)
    assert not Windows(5, 3, 1, 0, 3).whole and not Windows(5, 5, 1, 1, 1).whole


def test_windows_of_a_pyramid():
    assert pyramid_windows((5, 7), 1) == [Windows(5, 5, 5, 0, 1), Windows(7, 7, 7, 0, 1)]
    assert pyramid_windows((5, 7), 4) == [Windows(5, 2, 2, 2, 4), Windows(7, 2, 2, 1, 4)]
