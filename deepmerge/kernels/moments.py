"""Mean and covariance of a layer's input, and the metric on its weights that follows from them.

A layer computes y = W x + b of patches x. With other weights V, and the bias that makes up for the mean,
b + (W - V) mean, the mean square error of y is tr((W - V) Sigma (W - V)^T): Sigma is the centred covariance.
Without that bias it would be the uncentred one, which is larger by ((W - V) mean)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Added to every variance, as a share of the mean variance, so that directions without data count a little, and the
# covariance has an inverse.
RIDGE = 1e-4


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance, float64, of the input of a layer's weights, for each group.

    The shapes depend on `kind`, with C = channels_per_group, K = kernel_h*kernel_w, N = num_output/group:

        patches    covariance (group, C*K, C*K), in the order of the weights' axes
        separable  covariance (group, C, C), summed over the taps, and taps (group, K, K), summed over the
                   channels: their Kronecker product, scaled, approximates a covariance that is too large
        outputs    covariance (group, N, N) of W x: all that a matrix needs

    mean: (group, C*K), of outputs (group, N). samples: the number of patches.
    """

    kind: str
    mean: np.ndarray
    covariance: np.ndarray
    taps: np.ndarray | None = None
    samples: int = 0

    def fits(self, shape: Sequence[int], group: int) -> bool:
        """Return whether they fit weights of `shape`, (num_output, C, kernel_h, kernel_w) or (num_output, inputs)."""
        channels, taps = shape[1], int(np.prod(shape[2:], dtype=np.int64))
        sizes = {"patches": channels * taps, "separable": channels, "outputs": shape[0] // group}
        whole = sizes["outputs"] if self.kind == "outputs" else channels * taps
        return self.mean.shape == (group, whole) and self.covariance.shape == (group, *2 * (sizes[self.kind],))

    def shift(self, weight: np.ndarray, approx: np.ndarray, group: int) -> np.ndarray:
        """Return what to add to the bias if `approx` replaces `weight`: (W - V) mean, (num_output,), float64.

        Both have num_output as their first axis, and as many further values as the mean. Not for moments of outputs.
        """
        old, new = (np.asarray(a, np.float64).reshape(group, len(weight) // group, -1) for a in (weight, approx))
        return np.einsum("gnd,gd->gn", old - new, self.mean).ravel()


class Metric:
    """The covariance of one group's patches, with a ridge, as an operator on rows (n, C, K).

    channels (C, C) and taps (K, K): the separable covariance nearest to it, or the covariance itself.
    """

    def __init__(self, moments: Moments, place: int, channels: int):
        covariance = moments.covariance[place]
        self.full: np.ndarray | None = None
        if moments.kind == "patches":
            self.full = ridged(covariance)
            blocks = self.full.reshape(channels, -1, channels, self.full.shape[0] // channels)
            self.channels = np.einsum("ckdk->cd", blocks)
            self.taps = np.einsum("ckcl->kl", blocks)
        else:
            self.channels, self.taps = ridged(covariance), ridged(moments.taps[place])
        self.taps = self.taps / max(float(np.trace(self.taps)), np.finfo(np.float64).tiny)

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, C, K) times the covariance."""
        if self.full is not None:
            return (rows.reshape(len(rows), -1) @ self.full).reshape(rows.shape)
        return np.einsum("dc,ndl->ncl", self.channels, rows @ self.taps, optimize=True)

    def inner(self, first: np.ndarray) -> np.ndarray:
        """Return the covariance (r*K, r*K) of the patches after a 1x1 convolution by `first` (r, C)."""
        rank, taps = len(first), len(self.taps)
        if self.full is None:
            return np.kron(first @ self.channels @ first.T, self.taps)
        channels = first.shape[1]
        half = (first @ self.full.reshape(channels, -1)).reshape(rank * taps, channels, taps)
        return np.einsum("pck,bc->pbk", half, first, optimize=True).reshape(rank * taps, rank * taps)


def ridged(covariance: np.ndarray) -> np.ndarray:
    """Return a covariance (d, d), float64, with RIDGE times its mean variance on the diagonal, or 1 if that is 0."""
    size = len(covariance)
    mean = float(np.trace(covariance)) / size
    return covariance + (RIDGE * mean if mean > 0.0 else 1.0) * np.eye(size)


def root(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the symmetric square root of a covariance with a ridge, (d, d), and its inverse, (d, d), float64."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.sqrt(np.maximum(values, values[-1] * np.finfo(np.float64).eps))
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
