"""Layers without a bottom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepmerge.graph.tokens import number
from deepmerge.graph.tree import Message

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step


def given(step: Step) -> list[Tensor]:
    """Raise an error: the blobs of an Input are fed."""
    raise step.error("its blobs must be fed")


def parameter(step: Step) -> Tensor:
    """Caffe: parameter_layer.hpp: the learned blob; zeros if the network has no caffemodel."""
    shape = step.params.shape
    return step.weight(0).reshape(shape) if step.weights else torch.zeros(shape, device=step.net.device)


def dummy_data(step: Step) -> list[Tensor]:
    """Caffe: dummy_data_layer.cpp. Constants only: random fillers give other values each time."""
    layer = step.layer
    message = layer.tree.message("dummy_data_param") or Message()
    fillers = message.values("data_filler") or [Message()]
    if any(str(filler.value("type") or "constant") != "constant" for filler in fillers):
        raise step.error("data from a random filler cannot be made again; make it an Input, or constant")
    values = [number(str(filler.value("value") or 0)) for filler in fillers]
    shapes, count = step.params.shape, len(layer.tops)
    shapes, values = (items if len(items) > 1 else items * count for items in (list(shapes), values))
    return [torch.full(shape, value, device=step.net.device) for shape, value in zip(shapes, values, strict=True)]
