"""Tucker-2 and SVD that are near on the data: min |(W - V) Sigma^1/2| instead of min |W - V|.

Sigma is the covariance of the layer's input (moments.py). For a matrix the solution is closed: V = U U^T W,
U the leading eigenvectors of W Sigma W^T (the outputs' principal components). For Tucker-2,

    V[n, c, k] = sum over a, b of last[n, a] core[a, b, k] first[b, c]       k: the taps, kernel_h*kernel_w

last and core are closed given `first` (reduced-rank regression of y on the reduced patches), and `first` is
linear least squares given the two (conjugate gradients). The alternation starts from the HOSVD whitened by the
separable covariance, or from the plain Tucker-2 if that is nearer, and never gets worse.

Source: Zhang, Zou, He, Sun: Accelerating Very Deep Convolutional Networks for Classification and Detection,
TPAMI 38 (2016) (the matrix, by its responses); Izenman: Reduced-rank regression for the multivariate linear
model, J. Multivariate Anal. 5 (1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepmerge.kernels.moments import RIDGE, Metric, Moments, ridged, root
from deepmerge.kernels.svd import column_signs, group_matrices, leading_vectors
from deepmerge.kernels.tucker import Factors, feasible_ranks, reconstruct, tucker2
from deepmerge.kernels.vbmf import checked

SWEEPS = 2
STEPS = 4  # of conjugate gradients in each
ENOUGH = 1e-3  # stop if a sweep gains less, as a share of the error


def aware_svd(weight: np.ndarray, rank: int, group: int, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return (first (rank*group, inputs, …), last (num_output, rank, …)), float32, nearest on the data.

    weight: (num_output, inputs), or (num_output, channels_per_group, 1, 1), and so are the results; rank: of each
    group, 1 … min(num_output/group, inputs). Row r of first and column r of last have the same norm, as in
    `svd.truncated_svd`. Raises ValueError for a rank or moments that do not fit, PassError for a NaN.
    """
    _fitting(weight, group, moments)
    blocks = [checked(block, 2) for block in group_matrices(weight, group)]
    if not 1 <= rank <= min(blocks[0].shape):
        raise ValueError(f"rank {rank} is out of 1..{min(blocks[0].shape)} for weights of shape {np.shape(weight)}")
    firsts, lasts = [], []
    for place, block in enumerate(blocks):
        last = _leading(_outer(block, moments, place), rank)
        first = last.T @ block
        scale = np.sqrt(np.linalg.norm(first, axis=1))
        scale = np.where(scale > 0.0, scale, 1.0)
        firsts.append(first / scale[:, None])
        lasts.append(last * scale)
    axes = (1,) * (np.ndim(weight) - 2)
    first, last = np.concatenate(firsts), np.concatenate(lasts)
    return _float32(first.reshape(*first.shape, *axes)), _float32(last.reshape(*last.shape, *axes))


def aware_tucker2(weight: np.ndarray, rank_out: int, rank_in: int, group: int, moments: Moments) -> Factors:
    """Return (first, core, last), float32, as `tucker.tucker2` does, nearest on the data.

    weight: (num_output, channels_per_group, kernel_h, kernel_w). The outer factors have orthonormal rows (columns),
    as there, and the same shapes; None at a full rank, too. The error on the data is never above that of
    `tucker2` at the same ranks. Raises ValueError for ranks or moments that do not fit, PassError for a NaN.
    """
    _fitting(weight, group, moments)
    weight = checked(weight, 4)
    plain, _, _ = tucker2(weight, rank_out, rank_in, group)
    rank_out, rank_in = feasible_ranks(weight.shape, rank_out, rank_in, group)
    parts = []
    for place, block in enumerate(weight.reshape(group, -1, *weight.shape[1:])):
        old = None if plain is None else plain[place * rank_in : (place + 1) * rank_in, :, 0, 0].astype(np.float64)
        parts.append(_decompose(block, Metric(moments, place, weight.shape[1]), rank_out, old))
    firsts, cores, lasts = zip(*parts, strict=True)
    first = None if firsts[0] is None else _float32(np.concatenate(firsts)[:, :, None, None])
    last = None if lasts[0] is None else _float32(np.concatenate(lasts)[:, :, None, None])
    return first, _float32(np.concatenate(cores)), last


def bias_shift(
    weight: np.ndarray, factors: Factors | tuple[np.ndarray, ...], group: int, moments: Moments
) -> np.ndarray:
    """Return what to add to the bias if `factors` replace `weight`, (num_output,), float64.

    factors: the result of `aware_svd` or `aware_tucker2`. With the new bias every output keeps its mean.
    """
    if len(factors) == 3:
        return moments.shift(weight, reconstruct(*factors, group), group)
    pairs = zip(*(group_matrices(np.asarray(factor, np.float64), group) for factor in factors), strict=True)
    if moments.kind != "outputs":
        return moments.shift(weight, np.concatenate([last @ first for first, last in pairs]), group)
    # first is last^T W, scaled: the pair projects the outputs on the columns of last, which are orthogonal.
    means = zip(pairs, moments.mean, strict=True)
    return np.concatenate([mean - last @ ((last.T @ mean) / np.sum(last**2, axis=0)) for (_, last), mean in means])


def aware_spectra(weight: np.ndarray, group: int, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies on the data of the output and the input directions, in falling order, float64.

    Shapes (group, num_output/group) and (group, channels_per_group), or (group, inputs) for a matrix. The sum of the
    last ones is lost if only the first are kept. The input's come from the separable covariance. For a matrix both are
    the same, except for zeros at the end. Raises what `aware_svd` raises.
    """
    _fitting(weight, group, moments)
    blocks = group_matrices(checked(weight, np.ndim(weight)), group)
    outs = [_energies(_outer(block, moments, place)) for place, block in enumerate(blocks)]
    if np.ndim(weight) == 2 or np.shape(weight)[2:] == (1, 1):
        size = np.shape(weight)[1]
        return np.stack(outs), np.stack([np.pad(out, (0, max(0, size - len(out))))[:size] for out in outs])
    ins = []
    for place, block in enumerate(blocks):
        metric = Metric(moments, place, weight.shape[1])
        ins.append(_energies(_whitened_inner(block.reshape(len(block), weight.shape[1], -1), metric)))
    return np.stack(outs), np.stack(ins)


@dataclass
class _Fit:
    """The best last (N, rank_out) or None, and core (rank_out, rank_in, K), for a `first`. error: the share left."""

    first: np.ndarray
    core: np.ndarray
    last: np.ndarray | None
    error: float


def _decompose(block: np.ndarray, metric: Metric, rank_out: int, plain: np.ndarray | None):
    """Return one group's (first (rank_in, C) or None, core, last (N, rank_out) or None). plain: Tucker-2's `first`."""
    outputs, channels, *kernel = block.shape
    rows = block.reshape(outputs, channels, -1)
    target = metric.apply(rows)
    outer = np.einsum("nck,mck->nm", target, rows, optimize=True)
    if plain is None:
        last = None if rank_out == outputs else _leading(outer, rank_out)
        return None, block if last is None else np.einsum("na,ncyx->acyx", last, block), last
    starts = (_start(rows, metric, len(plain)), plain)
    best = min((_regression(first, target, outer, metric, rank_out) for first in starts), key=lambda fit: fit.error)
    for _ in range(SWEEPS):
        first = _least_squares(best, target, metric)
        better = _regression(_orthonormal(first), target, outer, metric, rank_out)
        gain = best.error - better.error
        if gain > 0.0:
            best = better
        if not gain > ENOUGH * best.error:
            break
    return best.first, best.core.reshape(*best.core.shape[:2], *kernel), best.last


def _start(rows: np.ndarray, metric: Metric, rank: int) -> np.ndarray:
    """Return the input directions (rank, C) that carry most of the output, by the separable covariance."""
    half, inverse = root(metric.channels)
    return _orthonormal(leading_vectors(_unfolded(rows, metric, half), rank).T @ inverse)


def _whitened_inner(rows: np.ndarray, metric: Metric) -> np.ndarray:
    unfolded = _unfolded(rows, metric, root(metric.channels)[0])
    return unfolded @ unfolded.T


def _unfolded(rows: np.ndarray, metric: Metric, half: np.ndarray) -> np.ndarray:
    """Return the weights (N, C, K), whitened by the separable covariance, as a matrix (C, N*K)."""
    whitened = np.einsum("cd,ndk->cnk", half, rows @ root(metric.taps)[0], optimize=True)
    return whitened.reshape(len(half), -1)


def _regression(first: np.ndarray, target: np.ndarray, outer: np.ndarray, metric: Metric, rank_out: int) -> _Fit:
    """Return the reduced-rank regression of the layer's output on the patches after `first` (rank_in, C)."""
    outputs, rank_in, taps = len(target), len(first), target.shape[2]
    cross = np.einsum("nck,bc->nbk", target, first, optimize=True).reshape(outputs, -1)
    full = np.linalg.solve(metric.inner(first), cross.T).T
    total = float(np.trace(outer))
    if rank_out == outputs:
        kept, core, last = float(np.sum(full * cross)), full, None
    else:
        last = _leading(full @ cross.T, rank_out)
        core = last.T @ full
        kept = float(np.sum(core * (last.T @ cross)))
    error = 1.0 - kept / total if total > 0.0 else 0.0
    return _Fit(first, core.reshape(-1, rank_in, taps), last, error)


def _least_squares(fit: _Fit, target: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the `first` for a core and a last, by a few steps of conjugate gradients from the present one.

    Preconditioned with the separable covariance, for which the first step is exact.
    """
    core, seen = fit.core, target if fit.last is None else np.einsum("na,nck->ack", fit.last, target, optimize=True)
    small = np.einsum("abk,kl,adl->bd", core, metric.taps, core, optimize=True)

    def back(rows: np.ndarray) -> np.ndarray:
        return np.einsum("abk,ack->bc", core, rows, optimize=True)

    def operator(first: np.ndarray) -> np.ndarray:
        return back(metric.apply(np.einsum("abk,bc->ack", core, first, optimize=True)))

    left, right = np.linalg.inv(ridged(small)), np.linalg.inv(metric.channels)
    first = fit.first
    rest = back(seen) - operator(first)
    steered = left @ rest @ right
    way, size = steered, float(np.sum(rest * steered))
    for _ in range(STEPS):
        if not size > 0.0:
            break
        pushed = operator(way)
        length = size / max(float(np.sum(way * pushed)), np.finfo(np.float64).tiny)
        first, rest = first + length * way, rest - length * pushed
        steered = left @ rest @ right
        size, before = float(np.sum(rest * steered)), size
        way = steered + size / before * way
    return first


def _orthonormal(first: np.ndarray) -> np.ndarray:
    """Return orthonormal rows with the same span, the largest entry of each positive."""
    columns = np.linalg.qr(first.T)[0]
    return (columns * column_signs(columns)).T


def _outer(block: np.ndarray, moments: Moments, place: int) -> np.ndarray:
    """Return the covariance (N, N) of one group's outputs, with the ridge of its patches. block: (N, inputs)."""
    if moments.kind != "outputs":
        channels = moments.covariance.shape[1] if moments.kind == "separable" else 0
        taps = moments.mean.shape[1] // channels if channels else 1
        metric = Metric(moments, place, channels or block.shape[1])
        rows = block.reshape(len(block), -1, taps) if channels else block[:, :, None]
        return np.einsum("nck,mck->nm", metric.apply(rows), rows, optimize=True)
    covariance, gram = moments.covariance[place], block @ block.T
    size = float(np.trace(gram))
    mean = float(np.trace(covariance)) / size if size > 0.0 else 0.0
    return covariance + (RIDGE * mean if mean > 0.0 else 1.0) * gram


def _leading(symmetric: np.ndarray, rank: int) -> np.ndarray:
    """Return the leading eigenvectors (N, rank) of a symmetric matrix, the largest entry of each positive."""
    vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)[1][:, ::-1][:, :rank]
    return np.ascontiguousarray(vectors * column_signs(vectors))


def _energies(symmetric: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.eigvalsh((symmetric + symmetric.T) / 2)[::-1], 0.0)


def _fitting(weight: np.ndarray, group: int, moments: Moments) -> None:
    if not moments.fits(np.shape(weight), group):
        what = f"{moments.kind}, mean {moments.mean.shape}, covariance {moments.covariance.shape}"
        raise ValueError(f"the moments ({what}) are not those of weights {np.shape(weight)}, group {group}")


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)
