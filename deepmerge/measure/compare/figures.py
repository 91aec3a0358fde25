"""How far apart two arrays are, gathered chunk by chunk, so that they are never whole in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

TOP = 5


class Figures:
    """The differences between a blob of network A and its counterpart in B, over all images.

    max_abs, mean_abs: of |a − b| over all values; equal infinities do not differ.
    range: max − min of A's finite values. relative: max_abs / range; if A does not vary, max_abs / its magnitude.
    nans: how many values are NaN, in A and in B.
    top1_agreement: the share of images for which both have the same best class. top5_agreement: the mean share of A's
    five best classes that are among B's five best. Both only for what may be class scores: (N, C) or (N, C, 1, 1) with
    C > 1 (C > 5 for top5_agreement).
    """

    def __init__(self) -> None:
        self.max_abs, self.total, self.values = 0.0, 0.0, 0
        self.low, self.high = math.inf, -math.inf
        self.nans = [0, 0]
        self.images, self.same_best, self.shared_best = 0, 0, 0.0
        self.classes = 0

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Add one chunk: float32, first axis the images, as many values in b as in a."""
        a, b = a.astype(np.float64), b.astype(np.float64).reshape(a.shape)
        for which, array in enumerate((a, b)):
            self.nans[which] += int(np.isnan(array).sum())
        if any(self.nans) or not a.size:
            return  # nothing that is counted from here on means anything
        with np.errstate(invalid="ignore"):
            apart = np.where(a == b, 0.0, np.abs(a - b))
        self.max_abs = max(self.max_abs, float(apart.max()))
        self.total += float(apart.sum())
        self.values += a.size
        finite = a[np.isfinite(a)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        if is_class_like(a.shape):
            self._rank(a.reshape(len(a), -1), b.reshape(len(b), -1))

    def _rank(self, a: np.ndarray, b: np.ndarray) -> None:
        self.images += len(a)
        self.classes = a.shape[1]
        self.same_best += int((a.argmax(1) == b.argmax(1)).sum())
        if self.classes > TOP:
            best_a, best_b = (np.argsort(-scores, axis=1, kind="stable")[:, :TOP] for scores in (a, b))
            self.shared_best += float((best_a[:, :, None] == best_b[:, None, :]).any(2).mean(1).sum())

    @property
    def range(self) -> float:
        """The range of A's finite values."""
        return self.high - self.low if self.values and math.isfinite(self.low) else 0.0

    @property
    def relative(self) -> float:
        """The largest difference by A's range; infinite if A is zero throughout and B is not, or for an infinity."""
        return self.share(self.max_abs)

    def share(self, apart: float) -> float:
        """Return a distance as a share of A's range, as `relative` is."""
        if apart == 0:
            return 0.0
        unit = self.range or (abs(self.high) if math.isfinite(self.high) else 0.0)
        return apart / unit if unit else math.inf

    def above(self, tolerance: float) -> bool:
        """Return whether B is further from A than the tolerance, or there is a NaN."""
        return any(self.nans) or self.relative > tolerance

    def report(self) -> dict[str, Any]:
        """Return the figures for JSON; those without a finite value are None."""
        broken = any(self.nans)
        top1 = self.same_best / self.images if self.images and not broken else None
        top5 = self.shared_best / self.images if self.images and not broken and self.classes > TOP else None
        return {
            "max_abs": None if broken else _finite(self.max_abs),
            "relative": None if broken else _finite(self.relative),
            "range": None if broken else self.range,
            "mean_abs": None if broken else _finite(self.total / self.values if self.values else 0.0),
            "top1_agreement": top1,
            "top5_agreement": top5,
            "nans": {"a": self.nans[0], "b": self.nans[1]},
        }


def is_class_like(shape: tuple[int, ...]) -> bool:
    """Return whether the shape is (N, C) with C > 1; any further axes must be 1."""
    return len(shape) >= 2 and shape[1] > 1 and all(size == 1 for size in shape[2:])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
