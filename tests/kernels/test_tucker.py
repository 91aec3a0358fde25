"""Tucker-2 against a naive convolution and the truncated HOSVD's error bound."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.kernels import tucker
from deepmerge.kernels.svd import column_signs


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def low_rank(num_output, channels, kernel_h, kernel_w, rank_out, rank_in, seed=0):
    core = weights(rank_out, rank_in, kernel_h, kernel_w, seed=seed)
    outer, inner = weights(num_output, rank_out, seed=seed + 1), weights(rank_in, channels, seed=seed + 2)
    return np.einsum("na,abyx,bc->ncyx", outer, core, inner).astype(np.float32)


def relative_error(weight, approx):
    return np.linalg.norm(weight.astype(np.float64) - approx) / np.linalg.norm(weight.astype(np.float64))


def convolve(image, weight, group=1, pad=(0, 0), stride=(1, 1)):
    """A convolution as its definition has it: image (channels, height, width), float64."""
    image = np.pad(image.astype(np.float64), ((0, 0), (pad[0], pad[0]), (pad[1], pad[1])))
    num_output, channels, kernel_h, kernel_w = weight.shape
    height = (image.shape[1] - kernel_h) // stride[0] + 1
    width = (image.shape[2] - kernel_w) // stride[1] + 1
    out = np.zeros((num_output, height, width))
    for n in range(num_output):
        begin = n // (num_output // group) * channels
        for y in range(height):
            for x in range(width):
                top, left = y * stride[0], x * stride[1]
                window = image[begin : begin + channels, top : top + kernel_h, left : left + kernel_w]
                out[n, y, x] = np.sum(window * weight[n])
    return out


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("ranks", [(3, 2), (6, 2), (3, 5), (6, 5)])
def test_chain_is_the_convolution_by_the_reconstructed_weights(group, ranks):
    weight = weights(6 * group, 5, 3, 5)
    image = weights(5 * group, 8, 11, seed=1)
    first, core, last = tucker.tucker2(weight, *ranks, group)
    expected = convolve(image, tucker.reconstruct(first, core, last, group), group, (1, 2), (2, 1))
    out = image if first is None else convolve(image, first, group)
    out = convolve(out, core, group, (1, 2), (2, 1))
    out = out if last is None else convolve(out, last, group)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("group", [1, 3])
def test_shapes_dtypes_and_orthonormal_factors(group):
    first, core, last = tucker.tucker2(weights(8 * group, 7, 3, 5), 4, 3, group)
    assert first.shape == (3 * group, 7, 1, 1)
    assert core.shape == (4 * group, 3, 3, 5)
    assert last.shape == (8 * group, 4, 1, 1)
    assert first.dtype == core.dtype == last.dtype == np.float32
    for g in range(group):
        rows, columns = first[3 * g : 3 * g + 3, :, 0, 0], last[8 * g : 8 * g + 8, :, 0, 0]
        np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(columns.T @ columns, np.eye(4), atol=1e-6)
        assert np.all(columns[np.argmax(np.abs(columns), axis=0), range(4)] > 0)


@pytest.mark.parametrize("group", [1, 2])
def test_full_ranks_are_the_weight_itself(group):
    weight = weights(8, 5, 3, 5)
    first, core, last = tucker.tucker2(weight, 8 // group, 5, group)
    assert first is None and last is None
    assert core.tobytes() == weight.tobytes()
    assert tucker.reconstruct(first, core, last, group).tobytes() == weight.tobytes()


@pytest.mark.parametrize("ranks", [(4, 3), (12, 3), (4, 10)])
@pytest.mark.parametrize("group", [1, 2])
def test_ranks_that_hold_the_weight_reconstruct_it(ranks, group):
    weight = np.concatenate([low_rank(12, 10, 3, 5, 4, 3, seed=s) for s in range(group)])
    first, core, last = tucker.tucker2(weight, *ranks, group)
    assert (first is None, last is None) == (ranks[1] == 10, ranks[0] == 12)
    assert relative_error(weight, tucker.reconstruct(first, core, last, group)) < 1e-6


def tail(matrix, rank):
    return np.sum(np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[rank:] ** 2)


def test_error_is_within_hosvd_bound_and_falls_with_the_rank():
    weight = weights(16, 12, 3, 5)
    grid = np.zeros((16, 12))
    for rank_out in range(1, 17):
        for rank_in in range(1, 13):
            approx = tucker.reconstruct(*tucker.tucker2(weight, rank_out, rank_in))
            error = np.linalg.norm(weight.astype(np.float64) - approx)
            tails = tail(tucker.unfold_out(weight), rank_out) + tail(tucker.unfold_in(weight), rank_in)
            assert error <= np.sqrt(tails) + 1e-5
            grid[rank_out - 1, rank_in - 1] = error / np.linalg.norm(weight)
    # HOOI stops early: it may lose a little of what one rank more would give, and no more than that.
    assert np.all(np.diff(grid, axis=0) < 2e-3) and np.all(np.diff(grid, axis=1) < 2e-3)
    assert grid[0, 0] > 0.9 and grid[15, 11] == 0.0


def test_hooi_is_no_worse_than_its_start():
    weight = weights(20, 14, 3, 3)
    outer = np.linalg.svd(tucker.unfold_out(weight))[0][:, :6]
    inner = np.linalg.svd(tucker.unfold_in(weight))[0][:, :5]
    hosvd = np.einsum("na,ma,mcyx,cb,db->ndyx", outer, outer, weight, inner, inner, optimize=True)
    approx = tucker.reconstruct(*tucker.tucker2(weight, 6, 5))
    assert relative_error(weight, approx) < relative_error(weight, hosvd)


@pytest.mark.parametrize("ranks", [(5, 4), (8, 4), (5, 6)])
def test_same_bytes_twice(ranks):
    weight = weights(16, 6, 3, 5)
    once, again = (tucker.tucker2(w, *ranks, 2) for w in (weight, np.asfortranarray(weight)))
    for a, b in zip(once, again, strict=True):
        assert (a is None and b is None) or (a.tobytes() == b.tobytes() and a.flags.c_contiguous)


@pytest.mark.parametrize(
    ("shape", "ranks"), [((9, 7, 3, 5), (4, 3)), ((40, 24, 1, 3), (11, 9)), ((64, 48, 3, 3), (20, 30))]
)
def test_the_same_factors_as_tensorly(shape, ranks):
    decomposition = pytest.importorskip("tensorly.decomposition")
    weight = weights(*shape)
    block = weight.astype(np.float64)
    sides = np.linalg.svd(tucker.unfold_out(block))[0], np.linalg.svd(tucker.unfold_in(block))[0]
    starts = [side[:, :rank] for side, rank in zip(sides, ranks, strict=True)]
    options = {"n_iter_max": tucker.MAX_ITERATIONS, "tol": tucker.TOLERANCE}
    (_, factors), _ = decomposition.partial_tucker(block, list(ranks), [0, 1], init=(None, list(starts)), **options)
    for found, expected in zip(tucker._hooi(block, *starts), factors, strict=True):
        np.testing.assert_allclose(*(one * column_signs(one) for one in (found, expected)), rtol=0, atol=1e-12)
    first, core, last = tucker.tucker2(weight, *ranks)
    approx = np.einsum("na,ma,mcyx,cb,db->ndyx", factors[0], factors[0], block, factors[1], factors[1], optimize=True)
    np.testing.assert_allclose(tucker.reconstruct(first, core, last), approx, rtol=0, atol=1e-5)


def test_zero_weights():
    first, core, last = tucker.tucker2(np.zeros((8, 6, 3, 3), np.float32), 3, 2)
    assert not np.any(core) and np.all(np.isfinite(first)) and np.all(np.isfinite(last))
    half = np.concatenate([weights(8, 6, 3, 3), np.zeros((8, 6, 3, 3), np.float32)])
    approx = tucker.reconstruct(*tucker.tucker2(half, 3, 2, group=2), group=2)
    assert not np.any(approx[8:]) and np.any(approx[:8])


def test_feasible_ranks_cut_what_no_core_can_use():
    assert tucker.feasible_ranks((64, 3, 3, 3), 32, 2) == (18, 2)
    assert tucker.feasible_ranks((64, 3, 3, 3), 64, 2) == (64, 2)  # full: no 1x1 behind it to feed
    assert tucker.feasible_ranks((64, 96, 1, 5), 2, 48) == (2, 10)
    assert tucker.feasible_ranks((64, 96, 1, 5), 2, 96) == (2, 96)
    assert tucker.feasible_ranks((64, 96, 3, 5), 20, 30, 2) == (20, 30)
    first, core, last = tucker.tucker2(weights(64, 3, 3, 3), 32, 2)
    assert first.shape == (2, 3, 1, 1) and core.shape == (18, 2, 3, 3) and last.shape == (64, 18, 1, 1)


def test_ranks_vbmf_finds_planted_ranks_the_greatest_of_the_groups():
    blocks = [low_rank(48, 32, 3, 5, 4, 3, seed=0), low_rank(48, 32, 3, 5, 2, 6, seed=5)]
    weight = np.concatenate(blocks)
    weight = weight + 0.1 * weights(*weight.shape, seed=9)
    assert tucker.ranks_vbmf(weight[:48]) == (4, 3)
    assert tucker.ranks_vbmf(weight[48:]) == (2, 6)
    assert tucker.ranks_vbmf(weight, group=2) == (4, 6)
    assert tucker.ranks_vbmf(np.zeros((8, 4, 3, 3))) == (0, 0)


@pytest.mark.parametrize("shape", [(12, 7, 3, 5), (12, 7, 1, 1), (6, 20), (20, 6)])
def test_spectra_are_the_squared_singular_values(shape):
    group = 1 if len(shape) == 2 else 2
    weight = weights(*shape)
    out, inside = tucker.spectra(weight, group)
    assert out.shape == (group, shape[0] // group) and inside.shape == (group, shape[1])
    for g, block in enumerate(weight.reshape(group, -1, *shape[1:])):
        for found, matrix in ((out[g], block), (inside[g], np.moveaxis(block, 1, 0))):
            values = np.linalg.svd(matrix.reshape(len(matrix), -1).astype(np.float64), compute_uv=False) ** 2
            np.testing.assert_allclose(found, np.pad(values, (0, len(found) - len(values))), rtol=1e-6, atol=1e-9)


def test_ranks_ratio_rounds_up():
    assert tucker.ranks_ratio(weights(10, 7, 3, 3), 1, 0.5) == (5, 4)
    assert tucker.ranks_ratio(weights(10, 7, 3, 3), 2, 0.5) == (3, 4)
    assert tucker.ranks_ratio(weights(10, 7, 3, 3), 1, 0.01) == (1, 1)
    assert tucker.ranks_ratio(weights(10, 7, 3, 3), 1, 1.0) == (10, 7)


@pytest.mark.parametrize(
    ("ranks", "group", "message"),
    [((0, 2), 1, "rank_out 0"), ((9, 2), 1, "rank_out 9"), ((2, 0), 1, "rank_in 0"), ((2, 6), 1, "rank_in 6"),
     ((5, 2), 2, "rank_out 5"), ((2, 2), 3, "group 3")],
)  # fmt: skip
def test_misuse_is_refused(ranks, group, message):
    with pytest.raises(ValueError, match=message):
        tucker.tucker2(weights(8, 5, 3, 3), *ranks, group)


def test_not_finite_is_refused():
    weight = weights(8, 5, 3, 3)
    weight[3, 1, 0, 2] = np.nan
    with pytest.raises(PassError, match="NaN"):
        tucker.tucker2(weight, 2, 2)
