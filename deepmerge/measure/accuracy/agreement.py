"""How far a network's answers agree with those of its original: no labels are needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes

_SMALLEST = float(np.finfo(np.float32).tiny)


def class_outputs(graph: Graph) -> list[str]:
    """Return the outputs that are scores, (N, classes, …), of two classes or more."""
    shapes = infer_shapes(graph)
    made = [blob for blob in graph.outputs if blob.producer.type != "Input" and len(shapes[blob] or ()) >= 2]
    return [blob.name for blob in made if shapes[blob][1] > 1]


def best_classes(scores: np.ndarray) -> np.ndarray:
    """Return the best class of each image, or of each place of a map.

    Parameters
    ----------
    scores : (N, classes, …), any float type

    Returns
    -------
    (N, …), int64: the first of several classes with the same score; -1 if there is a NaN among the scores.
    """
    return np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1))


def same_class(classes: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Return for each image whether both networks have the same best class; NaN agrees with nothing."""
    return (classes == original) & (original >= 0)


class Agreement:
    """Agreement with the original, gathered batch by batch.

    top1: the share of images with the same best class; see best_classes. max_abs: the largest difference of any score.
    kl: the mean of Σ p log(p / q), in nats, where p are the original's probabilities and q the other network's. Scores
    that are not probabilities go through a softmax first, in both networks. With a NaN among the scores, max_abs and kl
    are None, as is a figure that infinite scores make infinite or a NaN.
    """

    def __init__(self) -> None:
        self.images = self.same = 0
        self.max_abs = self.kl = 0.0
        self.nan = False
        self.softmax: bool | None = None  # whether scores go through a softmax; the first batch decides

    def add(self, scores: np.ndarray, original: np.ndarray) -> None:
        """Add a batch of scores; both (N, classes)."""
        self.images += len(scores)
        classes, wanted = best_classes(scores), best_classes(original)
        self.same += int(same_class(classes, wanted).sum())
        self.nan |= bool((classes < 0).any() or (wanted < 0).any())
        if self.nan:
            return
        p, q = original.astype(np.float64), scores.astype(np.float64)
        if self.softmax is None:
            self.softmax = not (are_probabilities(p) and are_probabilities(q))
        with np.errstate(invalid="ignore"):  # inf − inf
            self.max_abs = float(np.maximum(self.max_abs, np.abs(p - q).max()))
            if self.softmax:
                p, q = softmax(p), softmax(q)
            self.kl += float((p * (np.log(np.maximum(p, _SMALLEST)) - np.log(np.maximum(q, _SMALLEST)))).sum())

    def report(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        return {
            "top1": self.same / self.images,
            "kl": self._figure(max(self.kl / self.images, 0.0)),
            "max_abs": self._figure(self.max_abs),
            "softmax": bool(self.softmax),
        }

    def _figure(self, value: float) -> float | None:
        return value if math.isfinite(value) and not self.nan else None


def are_probabilities(scores: np.ndarray) -> bool:
    """Return whether each row of scores (N, classes) has no negative value and sums to 1."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the softmax of each row of scores (N, classes)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
