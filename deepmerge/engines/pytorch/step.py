"""Step: one layer, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmerge.engines.pytorch.table import OPERATIONS, OVERWRITING, refusal
from deepmerge.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.engines.pytorch.net import TorchNet
    from deepmerge.graph.graph import Layer


class Step:
    """What the functions of OPERATIONS get as their first argument, before the layer's bottoms.

    They return the top's tensor, or a list, one for each top.
    """

    def __init__(self, net: TorchNet, layer: Layer, weights: Sequence[Parameter]):
        if layer.params is None or layer.type not in OPERATIONS:
            raise EngineError(refusal(layer))
        self.net = net
        self.layer = layer
        self.params = layer.params
        self.weights = list(weights)
        self.run = OPERATIONS[layer.type]
        self.overwrite = OVERWRITING.get(layer.type)  # the same, where the bottom's memory may be written to

    @property
    def training(self) -> bool:
        return self.net.training

    def weight(self, index: int) -> Parameter:
        """A learned blob."""
        return self.weights[index]

    def axis(self, x: Tensor, axis: int) -> int:
        """`axis` counted from the front."""
        if not -x.dim() <= axis < x.dim():
            raise self.error(f"bottom {self.layer.bottom.name!r} has no axis {axis}: its shape is {tuple(x.shape)}")
        return axis % x.dim()

    def error(self, reason: str) -> EngineError:
        return EngineError(f"layer {self.layer.name!r} ({self.layer.type}): {reason}")
