"""Truncated SVD of matrices and of 1x1 convolutions, against numpy's SVD."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.kernels import svd

SHAPES = [(10, 37), (37, 10), (16, 16)]


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_full_rank_is_exact(shape):
    weight = weights(*shape)
    first, last = svd.truncated_svd(weight, min(shape))
    assert first.dtype == last.dtype == np.float32
    np.testing.assert_allclose(last @ first, weight, rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_error_is_the_tail_at_every_rank(shape):
    weight = weights(*shape)
    values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    for rank in range(1, min(shape)):
        first, last = svd.truncated_svd(weight, rank)
        assert first.shape == (rank, shape[1]) and last.shape == (shape[0], rank)
        error = np.linalg.norm(weight - last.astype(np.float64) @ first)
        assert error == pytest.approx(np.linalg.norm(values[rank:]), rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_balanced_and_signed(shape):
    weight = weights(*shape)
    values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)[:4]
    first, last = svd.truncated_svd(weight, 4)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), np.sqrt(values), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(last, axis=0), np.sqrt(values), rtol=1e-5)
    assert np.all(last[np.argmax(np.abs(last), axis=0), range(4)] > 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_same_bytes_twice_whatever_the_memory_order(shape):
    weight = weights(*shape)
    once = svd.truncated_svd(weight, 5)
    again = svd.truncated_svd(np.asfortranarray(weight), 5)
    assert [a.tobytes() for a in once] == [a.tobytes() for a in again]
    assert all(a.flags.c_contiguous for a in once)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_and_rank_one(shape):
    first, last = svd.truncated_svd(np.zeros(shape, np.float32), 3)
    assert not np.any(last @ first) and np.all(np.isfinite(first)) and np.all(np.isfinite(last))
    one = np.outer(weights(shape[0]), weights(shape[1]))
    first, last = svd.truncated_svd(one, 3)
    np.testing.assert_allclose(last @ first, one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("group", [1, 2])
def test_conv1x1_is_two_convolutions(group):
    weight = weights(12, 5, 1, 1)
    first, last = svd.conv1x1_svd(weight, 5, group)
    assert first.shape == (5 * group, 5, 1, 1) and last.shape == (12, 5, 1, 1)
    pixel = weights(5 * group, seed=1)
    per = 12 // group
    for g in range(group):
        inner = first[5 * g : 5 * g + 5, :, 0, 0] @ pixel[5 * g : 5 * g + 5]
        outer = last[per * g : per * g + per, :, 0, 0] @ inner
        expected = weight[per * g : per * g + per, :, 0, 0] @ pixel[5 * g : 5 * g + 5]
        np.testing.assert_allclose(outer, expected, rtol=0, atol=1e-5)


def low_rank(rows, columns, rank, seed):
    return (weights(rows, rank, seed=seed) @ weights(rank, columns, seed=seed + 1)).astype(np.float32)


def test_ranks_are_the_greatest_of_the_groups():
    noise = 0.05 * weights(40, 60, seed=9)
    weight = np.concatenate([low_rank(20, 60, 2, 0), low_rank(20, 60, 5, 4)]) + noise
    assert svd.rank_vbmf(weight, group=2) == 5
    assert svd.rank_vbmf(weight[:20]) == 2
    assert svd.rank_vbmf(weight[:, :, None, None], group=2) == 5


def test_energy_rank_is_the_least_that_keeps_the_share():
    energies = np.array([9.0, 4.0, 1.0, 1.0, 1.0])
    wanted = {0.5: 1, 9 / 16: 1, 0.6: 2, 13 / 16: 2, 0.82: 3, 15 / 16: 4, 1.0: 5}
    assert {share: svd.energy_rank(energies, share) for share in wanted} == wanted
    assert svd.energy_rank(np.array([4.0, 1.0, 0.0]), 1.0) == 2
    assert svd.energy_rank(np.zeros(3), 0.9) == 1


def test_ratio_rank_rounds_up_but_not_binary_dust():
    assert [svd.ratio_rank(100, r) for r in (0.07, 0.071, 0.001, 1.0)] == [7, 8, 1, 100]
    assert svd.rank_ratio(weights(10, 37), 0.5) == 5
    assert svd.rank_ratio(weights(12, 5, 1, 1), 0.5, group=2) == 3


@pytest.mark.parametrize("rank", [0, 11])
def test_rank_out_of_range(rank):
    with pytest.raises(ValueError, match=rf"rank {rank} is out of 1\.\.10"):
        svd.truncated_svd(weights(10, 37), rank)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match="energy"):
        svd.energy_rank(np.ones(4), share)
    with pytest.raises(ValueError, match="ratio"):
        svd.rank_ratio(weights(4, 5), share)


def test_what_cannot_be_decomposed_is_refused():
    bad = weights(4, 5)
    bad[1, 2] = np.inf
    with pytest.raises(PassError, match="infinity"):
        svd.truncated_svd(bad, 2)
    with pytest.raises(ValueError, match="1x1"):
        svd.conv1x1_svd(weights(4, 5, 3, 1), 2)
    with pytest.raises(ValueError, match="group 3"):
        svd.conv1x1_svd(weights(4, 5, 1, 1), 2, group=3)
