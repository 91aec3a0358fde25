"""Make a reducer narrower: which of its filters to keep, and how the next layer makes up for the others.

Without data, the inputs are taken as white noise: the values u = w·x are then Gaussian, and the moments of relu(u) are
known in closed form (the arc-cosine kernel of degree 1). With data, `order` takes the activations' own moments.
Source: Cho and Saul, Kernel Methods for Deep Learning (NIPS 2009), equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def activation_gram(reducer: np.ndarray, rectified: bool = True) -> np.ndarray:
    """Return E[h hᵀ] of h = relu(W x) (or h = W x) for white x; W (r, C, 1, 1) → (r, r), float64."""
    rows = reducer.reshape(len(reducer), -1).astype(np.float64)
    gram = rows @ rows.T
    if not rectified:
        return gram
    norms = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    outer = norms[:, None] * norms[None, :]
    cosine = np.clip(gram / outer, -1.0, 1.0)
    angle = np.arccos(cosine)
    return outer * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi)


def order(gram: np.ndarray, conv: np.ndarray, count: int) -> list[int]:
    """Return `count` of a reducer's filters, the most useful first, so that its beginning serves any smaller width.

    They are chosen one by one: each time the one that explains most of what is left of the convolution's output (a
    pivoted Cholesky factorisation of the activations' Gram matrix, weighted by the convolution).

    gram: (r, r), the activations' second moments. conv: (n, r, kernel_h, kernel_w), which reads them.
    """
    taps = _taps(conv)
    return _choose(gram.astype(np.float64), taps @ taps.T, count).tolist()


def shrink(
    reducer: np.ndarray,
    reducer_bias: np.ndarray,
    conv: np.ndarray,
    width: int,
    rectified: bool = True,
    keep: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the reducer with `width` of its filters, its bias, and the convolution that reads them.

    The convolution is fitted to its old output by least squares.

    reducer (r, C, 1, 1), reducer_bias (r,), conv (n, r, kernel_h, kernel_w), float32 → the same with r = width,
    which is at least 1; unchanged where width is r or more. keep: the filters to keep, `width` of them; None to choose
    them as `order` does.
    """
    if width >= len(reducer):
        return reducer, reducer_bias, conv
    gram, taps = activation_gram(reducer, rectified), _taps(conv)
    kept = np.sort(np.array(order(gram, conv, width) if keep is None else keep))
    inner = gram[np.ix_(kept, kept)]
    ridge = 1e-6 * np.trace(inner) / max(len(kept), 1) * np.eye(len(kept))
    mix = np.linalg.solve(inner + ridge, gram[kept])  # (width, r): each old activation from the kept ones
    fitted = (mix @ taps).reshape(len(kept), len(conv), *conv.shape[2:]).transpose(1, 0, 2, 3)
    return reducer[kept], reducer_bias[kept], np.ascontiguousarray(fitted, np.float32)


def _taps(conv: np.ndarray) -> np.ndarray:
    """Return the convolution's weights by input channel, float64 (r, n · taps)."""
    return conv.astype(np.float64).transpose(1, 0, 2, 3).reshape(conv.shape[1], -1)


def _choose(gram: np.ndarray, use: np.ndarray, width: int) -> np.ndarray:
    """Choose columns greedily. gram: the activations' moments. use: (r, r), the weight of their errors.

    Choosing j explains left_j leftᵀ_j / left_jj of what is left: leftᵀ_j · use · left_j / left_jj of the output. What
    is left, gram - factorᵀ · factor, is not written out: only its diagonal and these numerators are kept.
    """
    spread, gain = gram.diagonal().copy(), np.einsum("ij,ij->j", gram, use @ gram)
    factor = np.zeros((width, len(gram)))
    floor = 1e-12 * max(spread.max(), 1e-30)
    chosen: list[int] = []
    for step in range(width):
        ratio = gain / np.where(spread > floor, spread, np.inf)
        ratio[chosen] = -np.inf
        best = int(np.argmax(ratio))
        chosen.append(best)
        if spread[best] > floor:
            done = factor[:step]
            column = (gram[best] - done[:, best] @ done) / np.sqrt(spread[best])
            used = use @ column
            gain += column * (column * (column @ used) - 2 * (gram @ used - (done @ used) @ done))
            spread -= np.square(column)
            factor[step] = column
    return np.array(chosen)
