"""How far a network's answers are those of another one, its original: no labels are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

_SMALLEST = float(np.finfo(np.float32).tiny)


class Agreement:
    """Gathered batch by batch.

    top1: the share of images with the same best class (the first of several that are equal).
    max_abs: the largest difference of any score. kl: the mean of Σ p log(p / q), in nats, p being the original's
    probabilities and q the other's; scores that are no probabilities are put through a softmax first, both networks' alike.
    With a NaN among the scores, max_abs and kl are None.
    """

    def __init__(self) -> None:
        self.images = self.same = 0
        self.max_abs = self.kl = 0.0
        self.nan = False
        self.softmax: bool | None = None  # whether scores go through one; the first batch says

    def add(self, scores: np.ndarray, original: np.ndarray) -> None:
        """Both (N, classes)."""
        self.images += len(scores)
        bad = np.isnan(scores).any(axis=1) | np.isnan(original).any(axis=1)
        self.same += int(((scores.argmax(1) == original.argmax(1)) & ~bad).sum())
        self.nan |= bool(bad.any())
        if self.nan:
            return
        p, q = original.astype(np.float64), scores.astype(np.float64)
        self.max_abs = max(self.max_abs, float(np.abs(p - q).max()))
        if self.softmax is None:
            self.softmax = not (are_probabilities(p) and are_probabilities(q))
        if self.softmax:
            p, q = softmax(p), softmax(q)
        self.kl += float((p * (np.log(np.maximum(p, _SMALLEST)) - np.log(np.maximum(q, _SMALLEST)))).sum())

    def report(self) -> dict[str, Any]:
        return {
            "top1": self.same / self.images,
            "kl": None if self.nan else max(self.kl / self.images, 0.0),
            "max_abs": None if self.nan else self.max_abs,
            "softmax": bool(self.softmax),
        }


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether each row has no negative value and sums to 1."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Row by row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
