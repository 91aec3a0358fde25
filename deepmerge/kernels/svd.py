"""Truncated singular value decomposition of a weight matrix, and of a 1x1 convolution's weights.

An InnerProduct y = W x becomes y = last (first x): rank*(inputs + num_output) multiplications instead of
num_output*inputs. A 1x1 convolution is the same matrix at every pixel, one for each group.

Source: Eckart, Young: The approximation of one matrix by another of lower rank, Psychometrika 1 (1936).
"""

from __future__ import annotations

import math

import numpy as np

from deepmerge.kernels.vbmf import checked, evbmf_rank


def truncated_svd(weight: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (first (rank, inputs), last (num_output, rank)), float32, with last @ first near weight.

    weight: (num_output, inputs), as InnerProduct stores it; rank: 1 … min(weight.shape). No matrix of
    that rank is nearer in the Frobenius norm; at full rank the product is the weight up to rounding.

    Balanced: each factor gets the square root of each singular value, so that row r of first and column r of
    last have the same norm. Of all ways to scale the pair this one has the least weight decay, and their
    gradients have the same size: fine-tuning treats both alike. The largest entry of each column of
    last is positive, so that the same weight gives the same bytes.

    Raises ValueError for a rank out of range, PassError for a NaN or an infinity among the weights.
    """
    weight = checked(weight, 2)
    if not 1 <= rank <= min(weight.shape):
        raise ValueError(f"rank {rank} is out of 1..{min(weight.shape)} for weights of shape {weight.shape}")
    if weight.shape[0] <= weight.shape[1]:
        last = leading_vectors(weight, rank)
        first = last.T @ weight
        root = np.sqrt(np.linalg.norm(first, axis=1))
    else:
        first = leading_vectors(weight.T, rank).T
        last = weight @ first.T
        root = np.sqrt(np.linalg.norm(last, axis=0))
    # first or last is orthonormal here, and the other one's norms are the singular values.
    shrink = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0.0)
    if weight.shape[0] <= weight.shape[1]:
        first, last = first * shrink[:, None], last * root
    else:
        first, last = first * root[:, None], last * shrink
    signs = column_signs(last)
    first, last = first * signs[:, None], last * signs
    return np.ascontiguousarray(first, np.float32), np.ascontiguousarray(last, np.float32)


def conv1x1_svd(weight: np.ndarray, rank: int, group: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return `truncated_svd` of a 1x1 convolution, group by group: two 1x1 convolutions, both with `group`.

    weight: (num_output, channels_per_group, 1, 1); rank: of each group. The result, float32, is
    (first (rank*group, channels_per_group, 1, 1), last (num_output, rank, 1, 1)).
    Raises ValueError for another kernel, a num_output that group does not divide, a rank out of range.
    """
    if np.ndim(weight) != 4 or np.shape(weight)[2:] != (1, 1):
        raise ValueError(f"expected the weights of a 1x1 convolution, found shape {np.shape(weight)}")
    pairs = [truncated_svd(block, rank) for block in group_matrices(weight, group)]
    first = np.concatenate([pair[0] for pair in pairs])
    last = np.concatenate([pair[1] for pair in pairs])
    return first[:, :, None, None], last[:, :, None, None]


def rank_vbmf(weight: np.ndarray, group: int = 1) -> int:
    """Return the rank that variational Bayes finds (the greatest of the groups'); it may be 0, see vbmf.py.

    weight: (num_output, inputs) or (num_output, channels_per_group, 1, 1), here and below.
    """
    return max(evbmf_rank(block) for block in group_matrices(weight, group))


def rank_ratio(weight: np.ndarray, ratio: float, group: int = 1) -> int:
    """Return that share, in (0, 1], of a group's full rank, min(num_output/group, inputs), rounded up."""
    return ratio_rank(min(group_matrices(weight, group)[0].shape), ratio)


def energy_rank(energies: np.ndarray, share: float) -> int:
    """Return how many of the squared singular values, in falling order, hold that share of their sum, at least 1."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a share of {share} of the energy is out of (0, 1]")
    kept = np.cumsum(np.asarray(energies, dtype=np.float64))
    return int(np.searchsorted(kept, share * kept[-1])) + 1


def ratio_rank(full: int, ratio: float) -> int:
    """Return ratio*full, rounded up, at least 1."""
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio {ratio} is out of (0, 1]")
    # 0.07 * 100 is 7.000000000000001 in binary; that is 7, not 8.
    return max(1, math.ceil(ratio * full - 1e-9))


def group_matrices(weight: np.ndarray, group: int = 1) -> list[np.ndarray]:
    """Return each group's weights as a matrix (num_output/group, everything else)."""
    weight = np.asarray(weight)
    if group < 1 or weight.shape[0] % group:
        raise ValueError(f"group {group} does not divide num_output {weight.shape[0]}")
    return list(weight.reshape(group, weight.shape[0] // group, -1))


def leading_vectors(matrix: np.ndarray, rank: int) -> np.ndarray:
    """Return (rows, rank) orthonormal columns, float64: the leading left singular vectors.

    From the Gram matrix of the rows: cheap where rows are fewer than columns. Singular values that
    differ by less than 1e-8 of the greatest may come in any order, which does not affect a projection on them.
    """
    matrix = checked(matrix, 2)
    _, vectors = np.linalg.eigh(matrix @ matrix.T)
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank])


def column_signs(vectors: np.ndarray) -> np.ndarray:
    """Return the sign (+1 or -1) of each column's largest entry: multiplying by it fixes the column's sign."""
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0.0, -1.0, 1.0)
