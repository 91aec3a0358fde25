"""Losses that compare a network with its original, and the blobs that they compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepmerge.graph.graph import Blob, Layer

if TYPE_CHECKING:
    from torch import Tensor, dtype

_EPS = 1e-12


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(teacher/T) ‖ softmax(student/T)) · T², the mean over all axes but that of the classes.

    Parameters
    ----------
    student, teacher
        Logits of the same shape, (N, classes, …).
    temperature
        T; a higher one gives the less likely classes more weight.

    References
    ----------
    Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """
    from torch.nn.functional import kl_div, log_softmax

    own, wanted = (log_softmax(blob.movedim(1, -1).flatten(0, -2) / temperature, -1) for blob in (student, teacher))
    return kl_div(own, wanted, reduction="batchmean", log_target=True) * temperature**2


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Return mean((student − teacher)²) / var(teacher): 1 for a student that always gives the teacher's mean.

    Both are blobs of one shape (N, …), and mean and variance are those of all values: a scalar, float32 at least.
    """
    return _mean_square(student - teacher) / (teacher.to(_wide(teacher)).var(unbiased=False) + _EPS)


def weighted_error(student: Tensor, teacher: Tensor, matrix: Tensor) -> Tensor:
    """Return mean((M · (student − teacher))²) of blobs (N, C, …). matrix: M, (C, C); see recover/sensitivity.py."""
    return _mean_square((student - teacher).movedim(1, -1) @ matrix.T)


def _mean_square(values: Tensor) -> Tensor:
    """Return mean(values²), summed in float32. The gradient of values in bfloat16 stays so: half as much to move."""
    import torch

    return torch.linalg.vector_norm(values, dtype=_wide(values)).square() / values.numel()


def _wide(values: Tensor) -> dtype:
    """Return the precision to sum in: float32 at least."""
    import torch

    return torch.promote_types(values.dtype, torch.float32)


WITHOUT_GRADIENT = ("ArgMax", "Threshold")  # layer types: what comes before them can be compared, and trained by that


def logits_of(layer: Layer) -> str | None:
    """Return the name of the blob that a Softmax over axis 1 reads; None for another layer, or one in place."""
    if layer.type != "Softmax" or layer.bottom.name == layer.top.name:
        return None
    over_classes = layer.params.axis == 1 or (layer.params.axis == -1 and _has_two_axes(layer.bottom))
    return layer.bottom.name if over_classes else None


def _has_two_axes(blob: Blob) -> bool:
    """Return whether an InnerProduct or a Flatten made the blob, with at most in-place layers after it."""
    maker = blob.producer
    while maker.kind.in_place and maker.bottoms:
        maker = maker.bottom.producer
    if maker.type == "Flatten":
        return (maker.params.axis, maker.params.end_axis) == (1, -1)
    return maker.type == "InnerProduct" and maker.params.axis == 1
