"""Tucker-2: a convolution as 1x1, kernel_h x kernel_w, 1x1, by decomposing its weights' channel axes.

    W[n, c, y, x] = sum over a, b of last[n, a] core[a, b, y, x] first[b, c]

Both outer factors have orthonormal columns (rows): the core carries all of the scale. With groups every
group is decomposed by itself, with the same ranks, so that all three convolutions keep `group`.

Source: Kim, Park, Yoo, Choi, Yang, Shin: Compression of Deep Convolutional Neural Networks for Fast and
Low Power Mobile Applications, ICLR 2016 (arXiv 1511.06530); HOOI: De Lathauwer, De Moor, Vandewalle: On
the best rank-1 and rank-(R1, ..., RN) approximation of higher-order tensors, SIAM J. Matrix Anal. 21 (2000).
"""

from __future__ import annotations

import numpy as np

from deepmerge.kernels.svd import column_signs, leading_vectors, ratio_rank
from deepmerge.kernels.vbmf import checked, evbmf_rank_of_values, singular_values

# HOOI starts from the truncated HOSVD. Its first iterations bring nearly all of the gain.
MAX_ITERATIONS = 4
TOLERANCE = 1e-4

Factors = tuple["np.ndarray | None", np.ndarray, "np.ndarray | None"]


def tucker2(weight: np.ndarray, rank_out: int, rank_in: int, group: int = 1) -> Factors:
    """Return (first, core, last), float32: three convolutions, all with `group`, near the one of `weight`.

    weight: (num_output, channels_per_group, kernel_h, kernel_w); the ranks are each group's, from
    1 … num_output/group and 1 … channels_per_group, and are cut to `feasible_ranks`. Shapes:

        first  (rank_in*group, channels_per_group, 1, 1)
        core   (rank_out*group, rank_in, kernel_h, kernel_w), takes the original's stride, pad and dilation
        last   (num_output, rank_out, 1, 1), takes the original's bias

    A rank equal to its full channel count needs no 1x1 on that side: first (or last) is None, and the core
    has channels_per_group (or num_output) there: Tucker-1, which is a plain truncated SVD; with both full
    the core is the weight. The same weight gives the same bytes.

    Raises ValueError for ranks out of range and for a group that does not divide num_output, PassError for a
    NaN or an infinity among the weights.
    """
    blocks = _blocks(weight, group)
    rank_out, rank_in = feasible_ranks(np.shape(weight), rank_out, rank_in, group)
    firsts, cores, lasts = zip(*(_decompose(block, rank_out, rank_in) for block in blocks), strict=True)
    first = None if firsts[0] is None else np.concatenate([f.T for f in firsts])[:, :, None, None]
    last = None if lasts[0] is None else np.concatenate(lasts)[:, :, None, None]
    core = np.concatenate(cores)
    return _float32(first), _float32(core), _float32(last)


def reconstruct(first: np.ndarray | None, core: np.ndarray, last: np.ndarray | None, group: int = 1) -> np.ndarray:
    """Return the weights (num_output, channels_per_group, kernel_h, kernel_w), float32, of the chain."""
    weight = np.asarray(core, dtype=np.float64)
    weight = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    if first is not None:
        rows = np.asarray(first, dtype=np.float64).reshape(group, weight.shape[2], -1)
        weight = np.einsum("gabyx,gbc->gacyx", weight, rows, optimize=True)
    if last is not None:
        columns = np.asarray(last, dtype=np.float64).reshape(group, -1, weight.shape[1])
        weight = np.einsum("gna,gacyx->gncyx", columns, weight, optimize=True)
    return weight.reshape(-1, *weight.shape[2:]).astype(np.float32)


def feasible_ranks(shape: tuple[int, int, int, int], rank_out: int, rank_in: int, group: int = 1) -> tuple[int, int]:
    """Return (rank_out, rank_in) cut to what a core can use.

    A core of rank_in channels and kernel_h*kernel_w taps has at most rank_in*kernel_h*kernel_w independent outputs, and
    the other way round. A full rank is not cut: it needs no 1x1 (see `tucker2`). Raises ValueError if a rank is out of
    range.
    """
    outputs, channels, taps = shape[0] // group, shape[1], shape[2] * shape[3]
    if not 1 <= rank_out <= outputs:
        raise ValueError(f"rank_out {rank_out} is out of 1..{outputs} for weights {tuple(shape)}, group {group}")
    if not 1 <= rank_in <= channels:
        raise ValueError(f"rank_in {rank_in} is out of 1..{channels} for weights {tuple(shape)}, group {group}")
    if rank_out < outputs:
        rank_out = min(rank_out, rank_in * taps)
    if rank_in < channels:
        rank_in = min(rank_in, rank_out * taps)
    return rank_out, rank_in


def ranks_vbmf(weight: np.ndarray, group: int = 1) -> tuple[int, int]:
    """Return (rank_out, rank_in) by empirical variational Bayes on both unfoldings, the groups' greatest.

    Either may be 0 if an unfolding looks like noise (one of few channels does); the caller sets a floor. Here and
    below the ranks are not yet cut to `feasible_ranks`.
    """
    return _greatest(weight, group, lambda matrix: evbmf_rank_of_values(singular_values(matrix), matrix.shape))


def ranks_ratio(weight: np.ndarray, group: int, ratio: float) -> tuple[int, int]:
    """Return that share, in (0, 1], of num_output/group and of channels_per_group, rounded up, at least 1."""
    _blocks(weight, group)
    num_output, channels = np.shape(weight)[:2]
    return ratio_rank(num_output // group, ratio), ratio_rank(channels, ratio)


def spectra(weight: np.ndarray, group: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared singular values of both unfoldings in falling order.

    Shapes: (group, num_output/group) and (group, channels).

    weight: (num_output, channels_per_group, kernel_h, kernel_w), or a matrix (num_output, inputs). For a matrix and a
    1x1 convolution both are the same, except for zeros at the end.
    """
    weight = np.asarray(weight)
    blocks = _blocks(weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)), group)
    if weight.ndim == 2 or weight.shape[2:] == (1, 1):
        values = np.stack([singular_values(unfold_out(block)) ** 2 for block in blocks])
        return _padded(values, blocks.shape[1]), _padded(values, blocks.shape[2])
    outs, ins = (
        [_padded(singular_values(unfold(b)) ** 2, len(unfold(b))) for b in blocks] for unfold in (unfold_out, unfold_in)
    )
    return np.stack(outs), np.stack(ins)


def unfold_out(block: np.ndarray) -> np.ndarray:
    """Return (num_output, channels, kernel_h, kernel_w) as a matrix (num_output, the rest)."""
    return block.reshape(block.shape[0], -1)


def unfold_in(block: np.ndarray) -> np.ndarray:
    """Return (num_output, channels, kernel_h, kernel_w) as a matrix (channels, the rest)."""
    return block.transpose(1, 0, 2, 3).reshape(block.shape[1], -1)


def _greatest(weight: np.ndarray, group: int, rank_of) -> tuple[int, int]:
    blocks = _blocks(weight, group)
    return max(rank_of(unfold_out(b)) for b in blocks), max(rank_of(unfold_in(b)) for b in blocks)


def _decompose(block: np.ndarray, rank_out: int, rank_in: int) -> Factors:
    """Return one group's U_in (channels, rank_in) or None, core, and U_out (outputs, rank_out) or None, float64."""
    outputs, channels = block.shape[:2]
    u_out = None if rank_out == outputs else leading_vectors(unfold_out(block), rank_out)
    u_in = None if rank_in == channels else leading_vectors(unfold_in(block), rank_in)
    # With one factor the leading vectors are the optimum already; a zero tensor has nothing to iterate on.
    if u_out is not None and u_in is not None and np.any(block):
        u_out, u_in = _hooi(block, u_out, u_in)
    core = block
    if u_out is not None:
        u_out = u_out * column_signs(u_out)
        core = np.einsum("na,ncyx->acyx", u_out, core, optimize=True)
    if u_in is not None:
        u_in = u_in * column_signs(u_in)
        core = np.einsum("cb,acyx->abyx", u_in, core, optimize=True)
    return u_in, core, u_out


def _hooi(block: np.ndarray, u_out: np.ndarray, u_in: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Higher-order orthogonal iteration over the two channel axes.

    Each factor in turn becomes the best one for the other, by the same steps in the same order as in TensorLy's
    `partial_tucker`. Singular vectors come from Gram matrices, which takes a third of the time of decomposing the
    matrices themselves.

    Parameters
    ----------
    block : ndarray, float64, (outputs, channels, kernel_h, kernel_w), not all zero
    u_out : ndarray, float64, (outputs, rank_out)
        Where the iteration starts, orthonormal columns.
    u_in : ndarray, float64, (channels, rank_in)
        The same for the other axis.

    Returns
    -------
    tuple of ndarray
        New (u_out, u_in), with the same shapes.
    """
    matrix_out, matrix_in = unfold_out(block), unfold_in(block)
    square, last = np.sum(block**2), np.inf
    for iteration in range(MAX_ITERATIONS):
        narrow = (u_in.T @ matrix_in).reshape(-1, len(matrix_out), *block.shape[2:])
        u_out = leading_vectors(unfold_in(narrow), u_out.shape[1])
        narrow = unfold_in((u_out.T @ matrix_out).reshape(-1, *block.shape[1:]))
        u_in = leading_vectors(narrow, u_in.shape[1])
        core = u_in.T @ narrow
        error = np.sqrt(abs(square - np.sum(core**2)) / square)
        if iteration > 1 and abs(last - error) < TOLERANCE:
            break
        last = error
    return u_out, u_in


def _blocks(weight: np.ndarray, group: int) -> np.ndarray:
    """Return the weights as (group, num_output/group, channels_per_group, kernel_h, kernel_w), float64."""
    weight = checked(weight, 4)
    if group < 1 or weight.shape[0] % group:
        raise ValueError(f"group {group} does not divide num_output {weight.shape[0]}")
    return weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Return the values with zeros at the end of the last axis, up to that size."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])])


def _float32(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else np.ascontiguousarray(array, dtype=np.float32)
