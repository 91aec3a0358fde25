"""Accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


@torch.no_grad()
def accuracy(step: Step, scores: Tensor, labels: Tensor) -> list[Tensor]:
    """Caffe: accuracy_layer.cpp: the share of labels with fewer than top_k other scores that are as large or larger.

    A second top has the share of each class; 0 for a class without labels.
    """
    p, axis = step.params, step.axis(scores, step.params.axis)
    scores = scores.movedim(axis, -1).flatten(0, -2)
    labels = labels.reshape(-1).long()
    if p.ignore_label is not None:
        kept = labels != p.ignore_label
        scores, labels = scores[kept], labels[kept]
    own = scores.gather(1, labels[:, None])
    right = ((scores >= own).sum(1) <= p.top_k).to(scores.dtype)
    tops = [right.sum() / max(len(labels), 1)]
    if len(step.layer.tops) > 1:
        hits, count = (torch.zeros(scores.shape[1], device=scores.device) for _ in range(2))
        hits.index_add_(0, labels, right)
        count.index_add_(0, labels, torch.ones_like(right))
        tops.append(hits / count.clamp(min=1))
    return tops
