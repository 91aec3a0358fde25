"""The original as the teacher of the network that learns (--distill)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import DeepmergeError
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.spec import Job
from deepmerge.train.shared.losses import divergence, logits_of


class Teacher:
    """The original in its TEST phase. scores: the student's blob that is compared with the original's.

    job.distill is kl, the divergence from the original's probabilities, or mse, the mean squared difference of the
    logits. The loss, times job.distill_weight, is added to those that the labels give.
    """

    def __init__(self, graph: Graph, scores: str, job: Job, device: torch.device):
        if len(graph.inputs) != 1:
            names = ", ".join(blob.name for blob in graph.inputs)
            raise DeepmergeError(
                f"--distill: the original has {len(graph.inputs)} inputs ({names}), and only images can be fed"
            )
        self.job, self.scores = job, scores
        self.net = TorchNet(graph).to(device)
        self.net.requires_grad_(False)
        self.input, self.own_scores = graph.inputs[0].name, _scores_in(graph, scores)

    def loss(self, images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the loss to add, a mean over images. values: the student's blobs."""
        with torch.no_grad():
            wanted = self.net({self.input: images}, [self.own_scores])[self.own_scores]
        own = values[self.scores].float()
        if wanted.shape != own.shape:
            shapes = f"{tuple(wanted.shape)} and the network's {self.scores!r} {tuple(own.shape)}"
            text = f"the original's {self.own_scores!r} is {shapes}"
            raise DeepmergeError(f"--distill: {text}", remedy="is it the original of this network?")
        if self.job.distill == "mse":
            return functional.mse_loss(own, wanted) * self.job.distill_weight
        return divergence(own, wanted, self.job.temperature) * self.job.distill_weight


def _scores_in(graph: Graph, name: str) -> str:
    """Return the original's blob of this name; if there is none, its logits."""
    if any(blob.name == name for blob in graph.blobs):
        return name
    logits = [logits_of(layer) for layer in graph.layers]
    return next((found for found in reversed(logits) if found), graph.outputs[-1].name)
