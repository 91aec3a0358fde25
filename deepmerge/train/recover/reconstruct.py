"""Stages segments and chain: each merged segment learns to make what the original has at its output.

segments: on the original's inputs, all at once; none depends on another.
chain: on the merged network's own inputs, as the recovered segments before leave them; no gradient crosses a segment's
border, so that what a step's layers become depends on the steps before it alone.

A segment's loss is mean((y − t)²) / var(t), t the original's output: 1 for a segment that knows no more than the mean.
Each has weights of its own, and no step depends on how large a gradient is (optimizer.py), so that the sum of the losses
trains each by its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmerge.train.recover.segments import Segment

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.engines.pytorch import TorchNet

_EPS = 1e-12


class Reconstruction:
    """What the stages segments and chain make small; see distill.Distillation.

    teacher, student: the original and the merged network. input: the networks' input blob. own_inputs: chain's way.
    """

    def __init__(self, teacher: TorchNet, student: TorchNet, segments: Sequence[Segment], input: str, own_inputs: bool):
        self.teacher, self.student, self.input, self.own_inputs = teacher, student, input, own_inputs
        self.segments = [segment for segment in segments if segment.trained]
        self.parts = tuple(segment.name for segment in self.segments)
        inputs = () if own_inputs else (blob for segment in self.segments for blob in segment.inputs)
        self._wanted = tuple(dict.fromkeys((*inputs, *(segment.output for segment in self.segments))))

    @property
    def parameters(self) -> list[Parameter]:
        found = (blob for segment in self.segments for name in segment.trained for blob in self.student.blobs_of(name))
        return list(dict.fromkeys(found))

    def losses(self, images: Tensor) -> Tensor:
        """The segments' losses, (segments,), for one batch."""
        import torch

        with torch.no_grad():
            wanted = self.teacher({self.input: images}, self._wanted)
        have = {self.input: images} if self.own_inputs else wanted
        made = []
        for segment in self.segments:
            if missing := tuple(blob for blob in segment.inputs if blob not in have):
                with torch.no_grad():
                    have |= self.student(have, missing)
            y = self.student({blob: have[blob] for blob in segment.inputs}, (segment.output,))[segment.output]
            if self.own_inputs:
                have[segment.output] = y.detach()
            target = wanted[segment.output]
            made.append((y - target).square().mean() / (target.var(unbiased=False) + _EPS))
        return torch.stack(made)
