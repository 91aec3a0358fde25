"""How sensitive a network's scores are to errors at one of its blobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deepmerge.errors import TrainingError
from deepmerge.train.recover.distillation import TEMPERATURE, Compared

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from deepmerge.engines.pytorch import TorchNet

DRAWS = 2  # random directions of the scores for each batch
DAMPING = 0.03  # the weight of an error that changes no score, as a share of the mean

_EPS = 1e-30


def sensitivity(net: TorchNet, at: str, scores: Sequence[Compared], batches: Iterable[Tensor], seed: int) -> Tensor:
    """Return the matrix M, (C, C), for losses.weighted_error, that weighs errors of the C channels of blob `at`.

    MᵀM is the second moment of the gradients of `scores`, in random directions. Those of logits are drawn such that it
    is the curvature of the divergence. A blob that always has the mean of each channel has the error 1.

    Parameters
    ----------
    net
        The original, of one input.
    batches
        Images, (N, …), on its device. TrainingError if the gradients are not finite.

    References
    ----------
    Martens: "New insights and perspectives on the natural gradient method", JMLR 2020, sections 5 and 6.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    (source,) = net.inputs
    names = tuple(pair.theirs for pair in scores)
    moment = total = squares = count = 0
    for images in batches:
        with torch.no_grad():
            value = net({source: images}, (at,))[at].float()
        made = net({at: value.requires_grad_()}, names)
        for _ in range(DRAWS):
            pulls = [_direction(pair, made[pair.theirs].detach(), generator) * made[pair.theirs] for pair in scores]
            (gradient,) = torch.autograd.grad(sum(pull.sum() for pull in pulls), value, retain_graph=True)
            rows = _rows(gradient)
            moment = moment + rows.T @ rows
        rows = _rows(value.detach())
        total, squares, count = total + rows.sum(0), squares + rows.T @ rows, count + len(rows)
    if not torch.isfinite(moment).all():
        raise TrainingError(f"the original's values after blob {at!r} are not finite", remedy="check its weights")
    channels, mean = len(total), total / count
    moment = moment / (moment.trace() / channels + _EPS) + DAMPING * torch.eye(channels, device=moment.device)
    variance = (moment * (squares / count - mean.outer(mean))).sum() / channels
    return torch.linalg.cholesky(moment / variance.clamp(min=_EPS)).mT.float()


def _direction(pair: Compared, made: Tensor, generator: Generator) -> Tensor:
    """Return a random direction v of an output; for logits, E[v vᵀ] = diag(p) − p pᵀ with the probabilities p."""
    import torch

    drawn = torch.randn(made.shape, generator=generator).to(made)
    if not pair.logits:
        return drawn
    likely = (made / TEMPERATURE).softmax(1)
    part = likely.sqrt() * drawn
    return part - likely * part.sum(1, keepdim=True)


def _rows(values: Tensor) -> Tensor:
    """Return the values as a row for each place, (places, C), in float64."""
    return values.movedim(1, -1).flatten(0, -2).double()
