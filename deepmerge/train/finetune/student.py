"""The network that learns, the original that teaches it, and the networks that test it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmerge.data import Batch, Loader
from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import DeepmergeError, ReadError
from deepmerge.formats.read.training import TrainingNet, multipliers
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.solver import Learned
from deepmerge.train.finetune.spec import Job
from deepmerge.train.shared.augment import shifted
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
        own = values[self.scores]
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


class Student:
    """A TRAIN network on a device.

    vary: whether to shift the images at random. blobs: those that learn, each once, in the order of the layers.
    """

    def __init__(
        self,
        net: TrainingNet,
        device: torch.device,
        processes: Processes,
        seed: int,
        teacher: Teacher | None = None,
        vary: bool = False,
    ):
        self.net, self.device, self.processes, self.seed, self.teacher = net, device, processes, seed, teacher
        self.vary = vary
        self.torch = TorchNet(net.graph, "TRAIN").to(device)
        self.blobs = _learned(net.graph, self.torch)
        self._weights = _loss_weights(net.graph, self.torch.losses, processes.size)
        self._wanted = [*self.torch.losses, *([teacher.scores] if teacher else [])]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The values of `blobs`."""
        return [blob.values for blob in self.blobs]

    def gradients(self, batches: Iterable[Batch], first: int) -> tuple[float, list[Tensor]]:
        """Return the mean loss of the batches, and the sum of their gradients for each of `blobs`, over all processes.

        first: the number of the first batch since training began; it seeds Dropout and the shifts.
        """
        for blob in self.parameters:
            blob.grad = None
        total, count = torch.zeros((), device=self.device), 0
        for batch in batches:
            draw = zlib.crc32(f"{self.seed} {self.processes.rank} {first + count}".encode())
            self.torch.seed(draw)
            loss = self.loss(batch, draw)
            loss.backward()
            total += loss.detach()
            count += 1
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.processes.sum([total, *gradients])
        return float(total) / count, gradients

    def loss(self, batch: Batch, draw: int) -> Tensor:
        """Return this process's part of the batch's loss; the parts of all processes add up to it. draw: a seed."""
        feeds = _feeds(self.net, batch, self.device)
        if self.vary:
            feeds[self.net.images] = shifted(feeds[self.net.images], np.random.default_rng(draw))
        values = self.torch(feeds, self._wanted)
        loss = sum(values[name].sum() * weight for name, weight in self._weights.items())
        if self.teacher is not None:
            loss = loss + self.teacher.loss(feeds[self.net.images], values) / self.processes.size
        return loss

    def store(self, graph: Graph | None = None) -> None:
        """Copy the current weights into a graph's layers by name; None for the network's own graph."""
        self.torch.store(graph)

    def save(self, path: Path) -> None:
        """Write a snapshot: the weights of all layers of the TRAIN network, as Caffe's solver writes it."""
        self.store()
        write_caffemodel(self.net.graph, path)


def _feeds(net: TrainingNet, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return the network's inputs; ReadError where it needs labels and the batch has none."""
    feeds = {net.images: torch.from_numpy(batch.data).to(device, non_blocking=True)}
    if net.labels is not None:
        if batch.labels is None:
            raise ReadError(
                "the images have no labels, and the network learns from them", remedy="`deepmerge recover` needs none"
            )
        feeds[net.labels] = torch.from_numpy(batch.labels).to(device, non_blocking=True)
    return feeds


def _learned(graph: Graph, net: TorchNet) -> list[Learned]:
    """Return the blobs whose lr_mult is not 0. For a shared blob, the first ParamSpec that sets a field counts."""
    blobs: dict[nn.Parameter, Learned] = {}
    given: dict[nn.Parameter, set[str]] = {}
    for layer in graph.layers:
        for index, blob in enumerate(net.blobs_of(layer.name)):
            spec = layer.param_specs[index] if index < len(layer.param_specs) else ()
            named = {field.name for field in spec}
            rates = dict(zip(("lr_mult", "decay_mult"), multipliers(layer, index), strict=True))
            if blob not in blobs:
                blobs[blob] = Learned(f"{layer.name}/{index}", blob, **rates)
            for key in rates:
                if key in named - given.setdefault(blob, set()):
                    setattr(blobs[blob], key, rates[key])
            given[blob] |= named
    for blob, learned in blobs.items():
        blob.requires_grad_(learned.lr_mult != 0)
    return [learned for learned in blobs.values() if learned.lr_mult != 0]


def _loss_weights(graph: Graph, weights: dict[str, float], processes: int) -> dict[str, float]:
    """Return the losses' weights in one process's part of a batch.

    Losses are means over the batch, except with normalization NONE.
    """
    kinds = {blob.name: getattr(blob.producer.params, "normalization", "") for blob in graph.blobs}
    return {name: weight if kinds[name] == "NONE" else weight / processes for name, weight in weights.items()}


@dataclass
class Tester:
    """A TEST network and its images.

    batches: the number of batches in a test, at most all. scores: the blob that the labels are compared with, or None.
    """

    net: TrainingNet
    loader: Loader
    batches: int
    scores: str | None

    def run(self, student: Student, whole: bool = False) -> dict[str, float]:
        """Return the means of the network's outputs (Accuracy, losses) by blob name, `top1` and `images`.

        The weights are the student's. whole: take all images, not just `batches`.
        """
        student.store(self.net.graph)
        net = TorchNet(self.net.graph, "TEST").to(student.device)
        outputs = [name for name in net.outputs if name != self.net.labels]
        has_top1 = bool(self.scores and self.net.labels)
        wanted = [*outputs, self.scores] if has_top1 else outputs
        sums, right, images = dict.fromkeys(outputs, 0.0), 0, 0
        for number, batch in enumerate(self.loader.once()):
            if number == self.batches and not whole:
                break
            with torch.no_grad():
                values = net(_feeds(self.net, batch, student.device), wanted)
            for name in outputs:
                sums[name] += float(values[name].double().mean()) * len(batch.data)
            if has_top1:
                right += _count_right(values[self.scores], batch)
            images += len(batch.data)
        means = {name: value / images for name, value in sums.items()}
        return means | ({"top1": right / images} if has_top1 else {}) | {"images": images}


def _count_right(scores: Tensor, batch: Batch) -> int:
    """Return for how many images the class with the highest score is the label."""
    best = scores.flatten(1).argmax(1).cpu()
    return int((best == torch.from_numpy(batch.labels)).sum())
