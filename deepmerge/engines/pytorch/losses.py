"""Loss layers, each a scalar whose weight is in TorchNet.losses, and Accuracy."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.engines.pytorch.step import in_float32
from deepmerge.graph.graph import Graph
from deepmerge.graph.tokens import number

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


_SMALLEST = torch.finfo(torch.float32).tiny  # FLT_MIN
_THRESHOLD = 1e-20  # Caffe: loss_layer.hpp, kLOG_THRESHOLD


def loss_weights(graph: Graph) -> dict[str, float]:
    """Blob → its weight in what training minimises. Caffe: layer.hpp, SetLossWeights; loss_layer.cpp, LayerSetUp."""
    weights: dict[str, float] = {}
    for layer in graph.layers:
        given = [number(str(value)) for value in layer.tree.values("loss_weight")]
        if not given and layer.type.endswith("Loss"):
            given = [1.0]
        weights.update({top.name: weight for top, weight in zip(layer.tops, given, strict=False) if weight})
    return weights


@in_float32
def softmax_loss(step: Step, scores: Tensor, labels: Tensor) -> list[Tensor]:
    """Caffe: softmax_loss_layer.cpp. A second top has the probabilities."""
    axis = step.axis(scores, step.params.axis)
    logs = F.log_softmax(scores, axis)
    labels, counted = _labels(step, labels, (*scores.shape[:axis], *scores.shape[axis + 1 :]))
    losses = -logs.gather(axis, labels.unsqueeze(axis)).squeeze(axis)
    # the logarithm is of FLT_MIN at least, which the gradient takes no notice of
    losses = _valued(losses, losses.clamp(max=-torch.log(torch.tensor(_SMALLEST)).item()))
    loss = _normalized(step, losses, counted, prod(scores.shape[:axis]))
    return [loss, logs.detach().exp()][: len(step.layer.tops)]


@in_float32
def euclidean_loss(_step: Step, a: Tensor, b: Tensor) -> Tensor:
    """Caffe: euclidean_loss_layer.cpp: half the mean over the batch of the squared distance."""
    return (a - b.reshape(a.shape)).square().sum() / (2 * a.shape[0])


@in_float32
def sigmoid_loss(step: Step, scores: Tensor, targets: Tensor) -> Tensor:
    """Caffe: sigmoid_cross_entropy_loss_layer.cpp."""
    targets = targets.detach().reshape(scores.shape).to(scores.dtype)
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    ignored = step.params.ignore_label
    counted = None if ignored is None else targets.trunc() != ignored  # Caffe compares whole numbers
    return _normalized(step, losses, counted, scores.shape[0])


@in_float32
def hinge_loss(step: Step, scores: Tensor, labels: Tensor) -> Tensor:
    """Caffe: hinge_loss_layer.cpp."""
    flat = scores.flatten(1)
    sign = torch.ones_like(flat).scatter_(1, labels.reshape(-1, 1).long(), -1.0)
    margins = F.relu(1 + sign * flat)
    return (margins.square() if step.params.norm == "L2" else margins).sum() / flat.shape[0]


@in_float32
def multinomial_loss(_step: Step, probabilities: Tensor, labels: Tensor) -> Tensor:
    """Caffe: multinomial_logistic_loss_layer.cpp."""
    flat = probabilities.flatten(1).gather(1, labels.reshape(-1, 1).long())
    return -_valued(flat, flat.clamp(min=_THRESHOLD)).log().sum() / probabilities.shape[0]


@in_float32
def infogain_loss(step: Step, scores: Tensor, labels: Tensor, *matrix: Tensor) -> list[Tensor]:
    """Caffe: infogain_loss_layer.cpp: −Σ H[label] · log(softmax of the scores). A second top has the probabilities."""
    axis = step.axis(scores, step.params.axis)
    if not matrix:
        raise step.error("the infogain matrix must be the third bottom")
    size = scores.shape[axis]
    labels, counted = _labels(step, labels, (*scores.shape[:axis], *scores.shape[axis + 1 :]))
    rows = matrix[0].detach().reshape(size, size)[labels].movedim(-1, axis)
    logs = F.log_softmax(scores, axis)
    floor = torch.log(torch.tensor(_THRESHOLD)).item()
    loss = _normalized(
        step, -(rows * _valued(logs, logs.clamp(min=floor))).sum(axis), counted, prod(scores.shape[:axis])
    )
    return [loss, logs.detach().exp()][: len(step.layer.tops)]


@in_float32
def contrastive_loss(step: Step, a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
    """Caffe: contrastive_loss_layer.cpp. Pairs that are not similar are pushed apart up to the margin."""
    margin, same = step.params.margin, similar.reshape(-1).detach() != 0
    squares = (a - b).flatten(1).square().sum(1)
    if step.params.legacy_version:
        losses = torch.where(same, squares, F.relu(margin - squares))
    else:
        losses = torch.where(same, squares, _Pushed.apply(squares, margin))
    return losses.sum() / (2 * a.shape[0])


class _Pushed(torch.autograd.Function):
    """max(margin − d, 0)² of d²; in the gradient Caffe divides by d + 0.0001."""

    @staticmethod
    def forward(ctx, squares: Tensor, margin: float) -> Tensor:
        distance = squares.sqrt()
        short = (margin - distance).clamp(min=0)
        ctx.save_for_backward(short, distance)
        return short.square()

    @staticmethod
    def backward(ctx, grad: Tensor):
        short, distance = ctx.saved_tensors
        return -grad * short / (distance + 1e-4), None


def _labels(step: Step, labels: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Return labels as integers, one for each prediction, 0 for ignored ones; and which count (None: all)."""
    labels = labels.detach().reshape(shape).long()
    ignored = step.params.ignore_label
    if ignored is None:
        return labels, None
    counted = labels != ignored
    return labels * counted, counted


def _normalized(step: Step, losses: Tensor, counted: Tensor | None, batch: int) -> Tensor:
    """Return the sum of the losses that count, divided by the normalizer. Caffe: loss_layer.cpp, GetNormalizer.

    batch: what BATCH_SIZE divides by: the sizes before the axis of the classes, multiplied.
    """
    if counted is not None:
        losses = losses * counted
    how = step.params.normalization
    if how == "VALID" and counted is not None:
        return losses.sum() / counted.sum().clamp(min=1)
    return losses.sum() / {"BATCH_SIZE": batch, "NONE": 1}.get(how, losses.numel())


def _valued(x: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the gradient of x."""
    return x + (value - x).detach()


@in_float32
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
