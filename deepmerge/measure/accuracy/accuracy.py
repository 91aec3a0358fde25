"""Top-k accuracy, as Caffe's Accuracy layer counts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def sensible_tops(asked: Iterable[int], classes: int) -> tuple[tuple[int, ...], list[str]]:
    """Return the k for which top-k says something, and a line for each that does not.

    With k classes or fewer every answer is among the best k; such a k becomes classes − 1.
    """
    tops, notes = [], []
    for k in dict.fromkeys(asked):
        if k >= classes:
            instead = max(classes - 1, 1)
            notes.append(f"top-{k} of {classes} classes is always right; top-{instead} is measured instead")
            k = instead
        tops.append(k)
    return tuple(sorted(set(tops))), notes


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many other classes have a score at least as large as the label's.

    An answer is among the best k if its rank is below k, so a tie counts as wrong. Caffe: accuracy_layer.cpp. With a
    NaN among the scores the rank is the number of classes, wrong for any k; Caffe would count it as right.

    Parameters
    ----------
    scores : (N, classes)
    labels : (N,), 0..classes − 1

    Returns
    -------
    (N,), int64
    """
    own = scores[np.arange(len(labels)), labels]
    above = (scores >= own[:, None]).sum(axis=1) - 1
    return np.where(np.isnan(scores).any(axis=1), scores.shape[1], above)


class Accuracy:
    """Counts for each class, batch by batch. hits[label, i]: images of the class that are right for k = tops[i]."""

    def __init__(self, classes: int, tops: Sequence[int]):
        self.tops = tuple(tops)
        self.images = np.zeros(classes, np.int64)
        self.hits = np.zeros((classes, len(self.tops)), np.int64)

    def add(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Add a batch, and return which answers are right for each k, (N, tops).

        scores: (N, classes); labels: (N,), 0..classes − 1.
        """
        right = ranks(scores, labels)[:, None] < np.array(self.tops)
        np.add.at(self.images, labels, 1)
        np.add.at(self.hits, labels, right)
        return right

    def top(self) -> dict[int, float]:
        """Return k → share of all images that are right."""
        return dict(zip(self.tops, (self.hits.sum(axis=0) / self.images.sum()).tolist(), strict=True))

    def error(self) -> dict[int, float]:
        """Return k → the standard error of that share, √(p (1 − p) / N)."""
        images = self.images.sum()
        return {k: float(np.sqrt(share * (1 - share) / images)) for k, share in self.top().items()}

    def per_class(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return for each class label, name (None if unknown), images, top (k → share of them; None without images)."""
        entries = []
        for label, (images, hits) in enumerate(zip(self.images.tolist(), self.hits, strict=True)):
            name = names[label] if label < len(names) else None
            top = dict(zip(self.tops, (hits / images).tolist() if images else [None] * len(self.tops), strict=True))
            entries.append({"label": label, "name": name, "images": images, "top": top})
        return entries


class Drop:
    """How much accuracy a network has lost against another one on the same images.

    lost, gained: for each k, how many images the other network alone, and this one alone, is right for.
    """

    def __init__(self, tops: Sequence[int]):
        self.tops, self.images = tuple(tops), 0
        self.lost, self.gained = (np.zeros(len(self.tops), np.int64) for _ in range(2))

    def add(self, right: np.ndarray, others: np.ndarray) -> None:
        """Add a batch: which answers of this network and of the other one are right, bool (N, tops)."""
        self.images += len(right)
        self.lost += (others & ~right).sum(axis=0)
        self.gained += (right & ~others).sum(axis=0)

    def report(self) -> dict[int, dict[str, float]]:
        """Return k → value (the share that is lost) and its standard error.

        The images are the same for both networks, so only those that one alone is right for count: with b lost and c
        gained of N, the error is √(b + c − (b − c)² / N) / N. McNemar, Psychometrika 12 (1947).
        """
        value = (self.lost - self.gained) / self.images
        error = np.sqrt(self.lost + self.gained - value**2 * self.images) / self.images
        pairs = zip(value.tolist(), error.tolist(), strict=True)
        return {k: {"value": v, "error": e} for k, (v, e) in zip(self.tops, pairs, strict=True)}
