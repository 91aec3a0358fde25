"""Running sums for mean and covariance."""

from __future__ import annotations

import numpy as np

from deepmerge.kernels.moments import Moments


class Sums:
    """Mean and covariance of rows that come in pieces.

    kind, as in Moments; taps: kernel_h*kernel_w. Products are taken in float32 of values less the first piece's mean,
    and added in float64.
    """

    def __init__(self, kind: str, taps: int = 1):
        self.kind, self.taps, self.count = kind, taps, 0

    def add(self, rows: np.ndarray) -> None:
        """rows: (group, n, values), float32."""
        if self.count == 0:
            self._begin(rows)
        rows = rows - self.first[:, None]
        self.count += rows.shape[1]
        self.total += rows.sum(axis=1, dtype=np.float64)
        if self.kind == "separable":
            group, count, values = rows.shape
            cubes = rows.reshape(group, count, values // self.taps, self.taps)
            lines = cubes.transpose(0, 1, 3, 2).reshape(group, -1, values // self.taps)
            self.products += lines.transpose(0, 2, 1) @ lines
            lines = cubes.reshape(group, -1, self.taps)
            self.tap_products += lines.transpose(0, 2, 1) @ lines
        else:
            self.products += rows.transpose(0, 2, 1) @ rows

    def moments(self) -> Moments:
        """What was added so far, at least one row; the sums are used up."""
        rest = self.total / self.count
        mean = self.first + rest
        covariance, tap_covariance = self.products, None
        covariance /= self.count
        if self.kind == "separable":
            cubes = rest.reshape(len(rest), -1, self.taps)
            covariance -= cubes @ cubes.transpose(0, 2, 1)
            tap_covariance = self.tap_products / self.count - cubes.transpose(0, 2, 1) @ cubes
        else:
            covariance -= rest[:, :, None] * rest[:, None, :]
        return Moments(self.kind, mean, covariance, tap_covariance, self.count)

    def _begin(self, rows: np.ndarray) -> None:
        group, _, values = rows.shape
        self.first = rows.mean(axis=1, dtype=np.float64).astype(np.float32)
        self.total = np.zeros((group, values))
        size = values // self.taps if self.kind == "separable" else values
        self.products = np.zeros((group, size, size))
        self.tap_products = np.zeros((group, self.taps, self.taps))
