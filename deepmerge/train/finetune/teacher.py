"""Distillation: the network that was converted shows the merged one what to say. Hinton et al., arXiv 1503.02531."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import DeepmergeError
from deepmerge.graph.graph import Graph

KINDS = ("kl", "mse")


@dataclass(frozen=True)
class Distilling:
    """kind: kl, the divergence of the softened probabilities (times temperature², as the paper has it), or mse, the mean
    squared difference of the logits. weight: of it, beside the losses that labels give.
    """

    kind: str = "kl"
    weight: float = 1.0
    temperature: float = 2.0


class Teacher:
    """The original in its TEST phase. scores: the student's blob that is to become like the original's."""

    def __init__(self, graph: Graph, scores: str, how: Distilling, device: torch.device):
        if len(graph.inputs) != 1:
            names = ", ".join(blob.name for blob in graph.inputs)
            raise DeepmergeError(
                f"--distill: the original has {len(graph.inputs)} inputs ({names}), and only images can be fed"
            )
        self.how, self.student = how, scores
        self.net = TorchNet(graph).to(device)
        self.net.requires_grad_(False)
        self.input, self.own = graph.inputs[0].name, scores_of(graph, scores)

    def loss(self, images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """What to add to the loss, a mean over images. values: the student's blobs."""
        with torch.no_grad():
            wanted = self.net({self.input: images}, [self.own])[self.own]
        found = values[self.student]
        if wanted.shape != found.shape:
            text = f"the original's {self.own!r} is {tuple(wanted.shape)} and the network's {self.student!r} {tuple(found.shape)}"
            raise DeepmergeError(f"--distill: {text}; is it the original of this network?")
        if self.how.kind == "mse":
            return functional.mse_loss(found, wanted) * self.how.weight
        heat = self.how.temperature
        logs = (
            functional.log_softmax(blob.movedim(1, -1).reshape(-1, blob.shape[1]) / heat, 1) for blob in (found, wanted)
        )
        return functional.kl_div(*logs, reduction="batchmean", log_target=True) * heat**2 * self.how.weight


def scores_of(graph: Graph, name: str) -> str:
    """The blob of the original that stands for the student's scores: of the same name, else what its last Softmax reads."""
    if any(blob.name == name for blob in graph.blobs):
        return name
    ends = [layer for layer in graph.layers if layer.type == "Softmax"]
    return ends[-1].bottom.name if ends else graph.outputs[-1].name
