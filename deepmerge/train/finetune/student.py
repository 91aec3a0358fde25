"""The network that learns: gradients from batches, tests, and the weights back into graphs and files."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepmerge.data import Batch, Loader
from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import ReadError
from deepmerge.formats.read.training import TrainingNet, multipliers
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.teacher import Teacher
from deepmerge.train.finetune.updates import Learned
from deepmerge.train.shared.shifts import shifted


class Student:
    """A TRAIN network on a device. blobs: those that learn, each once, in the order of the layers. vary: shift the images."""

    def __init__(
        self, net: TrainingNet, device: torch.device, processes: Processes, seed: int, teacher: Teacher | None = None,
        vary: bool = False,
    ):  # fmt: skip
        self.net, self.device, self.processes, self.seed, self.teacher = net, device, processes, seed, teacher
        self.vary = vary
        self.torch = TorchNet(net.graph, "TRAIN").to(device)
        self.blobs = _learned(net.graph, self.torch)
        self._weights = _parts(net.graph, self.torch.losses, processes.size)
        self._wanted = [*self.torch.losses, *([teacher.student] if teacher else [])]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [blob.values for blob in self.blobs]

    def gradients(self, batches: Iterable[Batch], first: int) -> tuple[float, list[Tensor]]:
        """The mean loss of some batches, and the sum of their gradients, one for each of `blobs`; over all processes.

        first: the number of the first batch since training began, which what Dropout drops depends on.
        """
        for blob in self.parameters:
            blob.grad = None
        total, count = torch.zeros((), device=self.device), 0
        for batch in batches:
            draw = self._draw(first + count)
            self.torch.seed(draw)
            loss = self._loss(batch, draw)
            loss.backward()
            total += loss.detach()
            count += 1
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.processes.sum([total, *gradients])
        return float(total) / count, gradients

    def _loss(self, batch: Batch, draw: int) -> Tensor:
        """This process's part of the batch's loss: the parts of all add up to it."""
        feeds = fed(self.net, batch, self.device)
        if self.vary:
            feeds[self.net.images] = shifted(feeds[self.net.images], np.random.default_rng(draw))
        values = self.torch(feeds, self._wanted)
        loss = sum(values[name].sum() * weight for name, weight in self._weights.items())
        if self.teacher is not None:
            loss = loss + self.teacher.loss(feeds[self.net.images], values) / self.processes.size
        return loss

    def _draw(self, number: int) -> int:
        return zlib.crc32(f"{self.seed} {self.processes.rank} {number}".encode())

    def store(self, graph: Graph | None = None) -> None:
        """Give a graph's layers (the network's own by default) the weights as they are now, by name."""
        self.torch.store(graph)

    def save(self, path: Path) -> None:
        """A snapshot: the weights of all layers of the TRAIN network, as Caffe's solver writes it."""
        self.store()
        write_caffemodel(self.net.graph, path)


def fed(net: TrainingNet, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The network's inputs from a batch; ReadError where it wants labels and there are none."""
    feeds = {net.images: torch.from_numpy(batch.data).to(device, non_blocking=True)}
    if net.labels is not None:
        if batch.labels is None:
            raise ReadError(
                "the images have no labels, and the network learns from them; `deepmerge recover` needs none"
            )
        feeds[net.labels] = torch.from_numpy(batch.labels).to(device, non_blocking=True)
    return feeds


def _learned(graph: Graph, net: TorchNet) -> list[Learned]:
    """The blobs whose lr_mult is not 0; of one that several layers share, the first ParamSpec that says something counts."""
    found: dict[nn.Parameter, Learned] = {}
    said: dict[nn.Parameter, set[str]] = {}
    for layer in graph.layers:
        for index, blob in enumerate(net.blobs_of(layer.name)):
            spec = layer.param_specs[index] if index < len(layer.param_specs) else ()
            named, rates = (
                {f.name for f in spec},
                dict(zip(("lr_mult", "decay_mult"), multipliers(layer, index), strict=True)),
            )
            if blob not in found:
                found[blob] = Learned(f"{layer.name}/{index}", blob, **rates)
            for key in ("lr_mult", "decay_mult"):
                if key in named - said.setdefault(blob, set()):
                    setattr(found[blob], key, rates[key])
            said[blob] |= named
    for blob, learned in found.items():
        blob.requires_grad_(learned.lr_mult != 0)
    return [learned for learned in found.values() if learned.lr_mult != 0]


def _parts(graph: Graph, weights: dict[str, float], processes: int) -> dict[str, float]:
    """The losses' weights in one process's part of a batch. Losses are means over the batch, but with normalization NONE."""
    kinds = {blob.name: getattr(blob.producer.params, "normalization", "") for blob in graph.blobs}
    return {name: weight if kinds[name] == "NONE" else weight / processes for name, weight in weights.items()}


@dataclass
class Tester:
    """A TEST network, its images, and how many of its batches a test takes (at most all)."""

    net: TrainingNet
    loader: Loader
    batches: int
    scores: str | None

    def run(self, student: Student, whole: bool = False) -> dict[str, float]:
        """Mean values of the network's outputs (Accuracy, losses), by blob name, and `top1`, on the student's weights.

        whole: take all images, however few batches a test has.
        """
        student.store(self.net.graph)
        net = TorchNet(self.net.graph, "TEST").to(student.device)
        outputs = [name for name in net.outputs if name != self.net.labels]
        wanted = [*outputs, *([self.scores] if self.scores and self.net.labels else [])]
        sums, right, images = dict.fromkeys(outputs, 0.0), 0, 0
        for number, batch in enumerate(self.loader.once()):
            if number == self.batches and not whole:
                break
            with torch.no_grad():
                values = net(fed(self.net, batch, student.device), wanted)
            for name in outputs:
                sums[name] += float(values[name].double().mean()) * len(batch.data)
            if len(wanted) > len(outputs):
                right += _right(values[self.scores], batch)
            images += len(batch.data)
        made = {name: value / images for name, value in sums.items()}
        return made | ({"top1": right / images} if len(wanted) > len(outputs) else {}) | {"images": images}


def _right(scores: Tensor, batch: Batch) -> int:
    """How many images' best class is their label's."""
    best = scores.flatten(1).argmax(1).cpu()
    return int((best == torch.from_numpy(batch.labels)).sum())
