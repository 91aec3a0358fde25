"""Step: one layer, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Protocol

import torch

from deepmerge.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.graph.graph import Layer
    from deepmerge.graph.params import Params
    from deepmerge.graph.shapes import Shape


class Network(Protocol):
    """What a layer's function may ask of the network around it."""

    training: bool
    device: torch.device

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the random generator of Dropout on that device."""
        ...


def in_float32(function: Callable) -> Callable:
    """Give a layer's function its bottoms in float32 where autocast has made them bfloat16, which has 8 bits."""

    @wraps(function)
    def run(step: Step, *bottoms: Tensor) -> Tensor | list[Tensor]:
        return function(step, *(x.float() if x.dtype == torch.bfloat16 else x for x in bottoms))

    return run


def sending(function: Callable, flags: Sequence[bool]) -> Callable:
    """Let a layer's function, in the phase TRAIN, send a gradient only to the bottoms whose propagate_down is true.

    Recovery trains in the phase TEST, and heeds this as little as lr_mult: both are for another training.
    """

    @wraps(function)
    def run(step: Step, *bottoms: Tensor) -> Tensor | list[Tensor]:
        sent = flags if step.training else [True] * len(bottoms)
        return function(step, *(x if send else x.detach() for x, send in zip(bottoms, sent, strict=True)))

    return run


@dataclass(eq=False)
class Step:
    """The first argument of the functions in table.OPERATIONS; the layer's bottoms follow it.

    The functions return the tensor of the layer's top, or a list with one tensor for each top.
    `overwrite` does the same as `run`, but may write to the bottom's memory; None if there is no such function.
    shapes: by index, the layer's own shape of a blob that its owner has in another one (share_mode: PERMISSIVE).
    """

    net: Network
    layer: Layer
    weights: list[Parameter]
    run: Callable
    overwrite: Callable | None = None
    shapes: Mapping[int, Shape] = field(default_factory=dict)

    @property
    def params(self) -> Params:
        """The layer's parameters."""
        return self.layer.params

    @property
    def training(self) -> bool:
        """Whether the network is in the phase TRAIN."""
        return self.net.training

    def weight(self, index: int) -> Tensor:
        """Return one of the learned blobs, in Caffe's order, in the layer's own shape."""
        blob = self.weights[index]
        return blob.reshape(self.shapes[index]) if index in self.shapes else blob

    def axis(self, x: Tensor, axis: int) -> int:
        """Return `axis` counted from the front; a negative one counts from the end."""
        if not -x.dim() <= axis < x.dim():
            raise self.error(f"bottom {self.layer.bottom.name!r} has no axis {axis}: its shape is {tuple(x.shape)}")
        return axis % x.dim()

    def error(self, reason: str) -> EngineError:
        """Return the error that names this layer."""
        name = self.layer.name
        return EngineError(f"layer {name!r} ({self.layer.type}): {reason}", layer=name)
