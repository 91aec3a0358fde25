"""The steps that training takes: Muon's for the weights of convolutions, Adam's for all else.

Merged networks have no BatchNorm that would keep their values in bounds, and Adam, which looks at each number alone, goes slowly
in them. Muon gives every direction of a layer's weights, as a matrix, the same part of a step. Behind 2,000 iterations on
inception_mini the merged network says what its original says of 81.8 % of the images, and of 72.9 % with Adam alone, which
takes 7 % less time. For the large matrices of InnerProduct layers Muon would take longer than all the rest of an iteration.

Sources: Jordan, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon); its size of
step, the root mean square of Adam's: Liu et al., "Muon is Scalable for LLM Training" (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

OPTIMIZER = "Muon and Adam"  # whose state a checkpoint holds
_MUONS = 0.2  # the root mean square of its step, as a share of the rate


class Optimizer:
    """Of `parameters`, which stay what they are, and are changed in place."""

    def __init__(self, parameters: Sequence[Parameter]):
        import torch

        self.parameters = parameters
        self._orders = {place: _order(blob) for place, blob in enumerate(parameters) if _is_convolution(blob)}
        self._matrices = {place: _matrix(parameters[place].detach(), order) for place, order in self._orders.items()}
        self._shares = [_share(blob) for blob in parameters]
        others = {place: blob for place, blob in enumerate(parameters) if place not in self._matrices}
        groups = lambda blobs: [{"params": [blob], "place": place} for place, blob in blobs.items()]  # noqa: E731
        self._all: list[torch.optim.Optimizer] = []
        if self._matrices:
            self._all.append(torch.optim.Muon(groups(self._matrices), weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        if others:
            self._all.append(torch.optim.Adam(groups(others), fused=True))

    def zero_grad(self) -> None:
        for blob in self.parameters:
            blob.grad = None

    def step(self, rates: Sequence[float]) -> None:
        """One step down the gradients of those parameters that have one. rates: one for each parameter."""
        for place, matrix in self._matrices.items():
            grad = self.parameters[place].grad
            matrix.grad = None if grad is None else _matrix(grad, self._orders[place])
        for one in self._all:
            for group in one.param_groups:
                group["lr"] = rates[group["place"]] * self._shares[group["place"]]
            one.step()

    def arrays(self) -> dict[str, np.ndarray]:
        """Its state, for a checkpoint: place/key → array."""
        found = (
            (group["place"], one.state.get(group["params"][0], {})) for one in self._all for group in one.param_groups
        )
        return {f"{place}/{key}": value.cpu().numpy() for place, state in found for key, value in state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from `arrays`.

        They are laid out in memory as the parameters are, on the same device, or a step would take longer, and round otherwise.
        """
        import torch

        for one in self._all:
            for group in one.param_groups:
                (blob,), start = group["params"], f"{group['place']}/"
                for name in (name for name in arrays if name.startswith(start)):
                    value = torch.from_numpy(arrays[name])
                    like = blob.detach() if value.ndim else torch.zeros((), device=blob.device)
                    one.state[blob][name.removeprefix(start)] = torch.empty_like(like).copy_(value)


def _is_convolution(blob: Tensor) -> bool:
    """A convolution's weights (num_output, channels, height, width); those of a depthwise one are no matrix."""
    return blob.dim() == 4 and blob.shape[1] > 1


def _share(blob: Tensor) -> float:
    """Of the rate, that Adam takes: of a matrix (m, n) so little that its step is no longer in the spectral norm than Muon's, if all
    of its numbers agree, as they nearly do at first.
    """
    return _MUONS / math.sqrt(min(blob.shape)) if blob.dim() == 2 else 1.0


def _order(blob: Tensor) -> tuple[int, ...]:
    """Of the dimensions, as the blob's numbers lie in memory."""
    import torch

    return (0, 2, 3, 1) if blob.is_contiguous(memory_format=torch.channels_last) else (0, 1, 2, 3)


def _matrix(blob: Tensor, order: tuple[int, ...]) -> Tensor:
    """(num_output, all else); of the same memory, where its numbers lie there in that order."""
    return blob.permute(order).flatten(1)
