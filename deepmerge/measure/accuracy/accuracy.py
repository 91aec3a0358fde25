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

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch. scores: (N, classes); labels: (N,), 0..classes − 1."""
        right = ranks(scores, labels)[:, None] < np.array(self.tops)
        np.add.at(self.images, labels, 1)
        np.add.at(self.hits, labels, right)

    def top(self) -> dict[int, float]:
        """Return k → share of all images that are right."""
        return dict(zip(self.tops, (self.hits.sum(axis=0) / self.images.sum()).tolist(), strict=True))

    def per_class(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return for each class label, name (None if unknown), images, top (k → share of them; None without images)."""
        entries = []
        for label, (images, hits) in enumerate(zip(self.images.tolist(), self.hits, strict=True)):
            name = names[label] if label < len(names) else None
            top = dict(zip(self.tops, (hits / images).tolist() if images else [None] * len(self.tops), strict=True))
            entries.append({"label": label, "name": name, "images": images, "top": top})
        return entries
