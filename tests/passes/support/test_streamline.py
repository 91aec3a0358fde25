"""The window and the weights of a convolution with a pooling in it, without a network."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.graph import Blob, Layer
from deepmerge.graph.params import Convolution, Pooling
from deepmerge.passes.support.base import Refused
from deepmerge.passes.support.streamline import start, strided


def convolution(kernel=(3, 3), **others) -> Convolution:
    return Convolution(num_output=4, kernel_h=kernel[0], kernel_w=kernel[1], **others)


def pooling(kernel=(3, 3), stride=(2, 2), pad=(0, 0), pool="MAX") -> Pooling:
    return Pooling(
        pool=pool, kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1], pad_h=pad[0], pad_w=pad[1]
    )  # fmt: skip


def stride(own: Convolution, pool: Pooling, size, out, cover: bool) -> Convolution:
    """`strided`, of an image of this size and a pooling that gives this output."""
    conv = Layer("conv", "Convolution", own, [Blob("data")], [Blob("conv")])
    after = Layer("pool", "Pooling", pool, [conv.top], [Blob("pool")])
    return strided(conv, after, {conv.bottom: (1, 3, *size), after.top: (1, 4, *out)}, cover)


def test_googlenets_first():
    """7x7 at stride 2 and 3x3 at stride 2: stride 4, 56 places of 224."""
    own = convolution((7, 7), stride_h=2, stride_w=2, pad_h=3, pad_w=3)
    kept, covering = (stride(own, pooling(), (224, 224), (56, 56), cover) for cover in (False, True))
    assert (kept.kernel, kept.stride, kept.pad) == ((7, 7), (4, 4), (2, 2))
    assert (covering.kernel, covering.stride, covering.pad) == ((11, 11), (4, 4), (4, 4))


def test_the_axes_go_their_own_ways():
    own = convolution((3, 5), stride_h=1, stride_w=2, pad_h=1, pad_w=2)
    new = stride(own, pooling((2, 3), (2, 1), (0, 1)), (16, 21), (8, 11), True)
    assert (new.kernel, new.stride, new.pad, new.num_output) == ((4, 9), (2, 2), (1, 4), 4)


def test_dilated_taps_cover_where_they_can():
    own = convolution(dilation_h=2, dilation_w=2)
    assert stride(own, pooling(), (21, 21), (8, 8), True).kernel == (4, 4)  # 3 + (3 − 1)/2
    assert stride(own, pooling((2, 2)), (20, 20), (8, 8), True).kernel == (3, 3)  # an even field has no such kernel


def test_no_pad_fits():
    with pytest.raises(
        Refused, match="no pad lets a kernel of 11 at stride 8 make 27 outputs of 227 values.*--kernel cover"
    ):
        stride(convolution((11, 11), stride_h=4, stride_w=4), pooling(), (227, 227), (27, 27), False)
    with pytest.raises(Refused) as refused:
        stride(convolution((1, 1)), pooling((1, 1), (3, 3)), (7, 7), (9, 9), True)
    assert "--kernel cover" not in str(refused.value)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_weights_of_a_kept_kernel_are_the_same(pool):
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert start(weight, convolution(), convolution(), pooling(pool=pool), "trained") is weight


def test_weights_of_a_covering_kernel():
    weight = np.random.default_rng(0).normal(0, 1, (4, 2, 3, 2)).astype(np.float32)
    middle = start(weight, convolution((3, 2)), convolution((5, 4)), pooling(), "trained")
    np.testing.assert_array_equal(middle[:, :, 1:4, 1:3], weight)
    mean = start(weight, convolution((3, 2)), convolution((5, 4)), pooling(pool="AVE"), "trained")
    assert mean.shape == (4, 2, 5, 4)
    np.testing.assert_allclose(mean.sum(axis=(2, 3)), weight.sum(axis=(2, 3)), atol=1e-5)
    dilated = start(
        weight, convolution((3, 2), dilation_h=2, dilation_w=2), convolution((4, 3)), pooling(pool="AVE"), "trained"
    )
    assert dilated.shape == (4, 2, 4, 3) and dilated.dtype == np.float32


def test_a_random_start_is_of_the_new_shape():
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert start(weight, convolution(), convolution((5, 5)), pooling(), "xavier").shape == (4, 2, 5, 5)
