"""The stages of a job on PyTorch: the network that learns."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepmerge.data import Batch, Loader
from deepmerge.data.prefetch import prefetched
from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import ReadError
from deepmerge.formats.read.solver import Solver
from deepmerge.formats.read.training import TrainingNet, multipliers, read_training
from deepmerge.formats.read.weights import Weights
from deepmerge.graph.graph import Blob, Graph
from deepmerge.graph.shapes import Shape
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.solver import Learned, Updates, learning_rate
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.finetune.start import load_start
from deepmerge.train.finetune.teacher import Teacher
from deepmerge.train.finetune.tester import Tester, open_testers
from deepmerge.train.finetune.torch_data import class_count, feeds_of, ignored_label, main_loss, network_loader
from deepmerge.train.shared.augment import shifted
from deepmerge.train.shared.device import BF16_LOSS, has_fast_bf16, prepare
from deepmerge.train.shared.processes import Processes

_PROBED = 4  # batches that the loss in bfloat16 is measured on
_WEIGHTS, _HISTORY, _STATISTICS = "weights/", "history/", "statistics/"  # prefixes of names in a checkpoint


@dataclass(frozen=True)
class Setup:
    """What all stages of a job share. teacher: the original, None without --distill."""

    job: Job
    seed: int
    device: torch.device
    processes: Processes = Processes()
    teacher: Graph | None = None

    @classmethod
    def of(cls, job: Job, seed: int, processes: Processes, original: Graph | None) -> Setup:
        """Return it for --device, made ready; of several processes each has a GPU of its own."""
        several = job.device == "cuda" and processes.size > 1
        name = f"cuda:{processes.local_rank}" if several else job.device
        return cls(job, seed, prepare(name, job.threads, seed), processes, original)


@contextlib.contextmanager
def open_learner(stage: Stage, starts: Sequence[Path | Weights], setup: Setup) -> Iterator[TorchLearner]:
    """Yield a stage that is ready to run. starts: its weights, later ones overriding.

    ReadError, GraphError or ShapeError where networks, weights or images do not fit together.
    """
    job, processes = setup.job, setup.processes
    deploy = stage.pair.read()
    shape = stage.image_shape(deploy)
    if job.vary and len(shape) != 3:
        size = " x ".join(map(str, shape))
        raise ReadError(f"the input is {size}, and --vary shifts images, which are channels x height x width")
    net = read_training(stage.solver.train, "TRAIN", shape, job.batch_size)
    notes = net.graph.warnings + load_start(net, starts, setup.seed)
    loss = main_loss(net.graph)
    options = {"seed": setup.seed, "shuffle": job.shuffle, "limit": job.limit, "classes": class_count(net, loss)}
    options["ignored"] = ignored_label(net.graph)
    loader, image_notes = network_loader(job.data, job, deploy, net, processes.share(net.batch_size), **options)
    testers = open_testers(stage, job, net, deploy, starts, setup.seed) if job.test_data and processes.first else []
    learner = TorchLearner(stage.solver, net, loader, testers, setup)
    learner.notes = notes + image_notes
    with contextlib.closing(learner):
        yield learner


class TorchLearner(Learner):
    """A TRAIN network on a device.

    In bfloat16, weights, Softmax, Reduction and losses stay in float32.
    blobs: those that learn, each once, in the order of the layers. iteration: the number of updates so far.
    ReadError if nothing can learn.
    """

    timed = True

    def __init__(self, solver: Solver, net: TrainingNet, loader: Loader, testers: Sequence[Tester], setup: Setup):
        self.solver, self.net, self.loader, self.testers, self.setup = solver, net, loader, testers, setup
        self.device, self.processes = setup.device, setup.processes
        self.batch_size, self.count, self.tests = net.batch_size, loader.count, len(testers)
        self.torch = TorchNet(net.graph, "TRAIN").to(self.device)
        self.blobs = _learned(net.graph, self.torch)
        if not self.blobs:
            text = "every layer's lr_mult is 0, so nothing can learn"
            raise ReadError(text, solver.train.path, remedy="check its `param` messages")
        self.teacher = None
        if setup.teacher is not None:
            scores = main_loss(net.graph).bottoms[0].name
            self.teacher = Teacher(setup.teacher, scores, setup.job, self.device)
        self._weights = _loss_weights(net, self.torch.losses, self.processes.size)
        self._wanted = [*self.torch.losses, *([self.teacher.scores] if self.teacher else [])]
        self.updates = Updates(solver, self.blobs)
        norms = [layer.name for layer in net.graph.layers if layer.type == "BatchNorm"]
        every = {f"{name}/{i}": blob for name in norms for i, blob in enumerate(self.torch.blobs_of(name))}
        learned = {blob.values for blob in self.blobs}
        self.statistics = {name: blob for name, blob in every.items() if blob not in learned}
        self.precision = "fp32"
        self._batches = prefetched(iter(()))

    def load(self, arrays: Arrays, iteration: int) -> None:
        """See Learner."""
        self.iteration = iteration
        self._batches = prefetched(self._own_batches(iteration * self.solver.iter_size))
        with torch.no_grad():
            for name, values in self.statistics.items() if arrays else ():
                values.copy_(torch.from_numpy(arrays[f"{_STATISTICS}{name}"]))
            for blob in self.blobs if arrays else ():
                blob.values.copy_(torch.from_numpy(arrays[f"{_WEIGHTS}{blob.name}"]))
                for number, values in enumerate(blob.history):
                    values.copy_(torch.from_numpy(arrays[f"{_HISTORY}{number}/{blob.name}"]))

    def _own_batches(self, start: int) -> Generator[Batch, None, None]:
        for index in itertools.count(start):
            yield self.loader.batch(self.processes.own_batch(index))

    def close(self) -> None:
        """Stop preparing batches."""
        self._batches.close()

    def state(self) -> Arrays:
        """See Learner."""
        arrays = {f"{_WEIGHTS}{blob.name}": blob.values.detach().cpu().numpy() for blob in self.blobs}
        for blob in self.blobs:
            arrays |= {f"{_HISTORY}{i}/{blob.name}": values.cpu().numpy() for i, values in enumerate(blob.history)}
        statistics = self.statistics.items()
        return arrays | {f"{_STATISTICS}{name}": values.detach().cpu().numpy() for name, values in statistics}

    def settle(self, precision: str) -> str:
        """See Learner."""
        wanted = precision or self.setup.job.precision
        self.precision = self.processes.from_first(self._fastest()) if wanted == "auto" else wanted
        return self.precision

    def _fastest(self) -> str:
        """Return bf16 where the device is made for it, and it adds little to the loss of the first batches."""
        if not has_fast_bf16(self.device):
            return "fp32"
        kept = {name: blob.detach().clone() for name, blob in self.statistics.items()}
        losses = {}
        for precision in ("fp32", "bf16"):
            self.precision = precision
            losses[precision] = sum(self._loss_of(index) for index in range(_PROBED))
            for name, values in kept.items():
                self.statistics[name].copy_(values)
        return "bf16" if losses["bf16"] <= BF16_LOSS * losses["fp32"] else "fp32"

    def _loss_of(self, index: int) -> float:
        """Return the loss of a batch; nothing learns."""
        self.torch.seed(index)
        with torch.no_grad():
            return float(self.loss(self.loader.batch(self.processes.own_batch(index)), index))

    def step(self, most: int, position: int) -> list[float]:
        """Run one iteration, and return its loss. See Learner."""
        size = self.solver.iter_size
        loss, gradients = self.gradients(itertools.islice(self._batches, size), self.iteration * size)
        with torch.no_grad():
            self.updates.apply(gradients, self.slowed * learning_rate(self.solver, position), self.iteration)
        self.iteration += 1
        return [loss]

    def gradients(self, batches: Iterator[Batch], first: int) -> tuple[float, list[Tensor]]:
        """Return the mean loss of the batches, and the sum of their gradients for each of `blobs`, over all processes.

        first: the number of the first batch since training began; it seeds Dropout and the shifts.
        """
        parameters = [blob.values for blob in self.blobs]
        for blob in parameters:
            blob.grad = None
        total, count = torch.zeros((), device=self.device), 0
        for batch in batches:
            draw = zlib.crc32(f"{self.setup.seed} {self.processes.rank} {first + count}".encode())
            self.torch.seed(draw)
            loss = self.loss(batch, draw)
            loss.backward()
            total += loss.detach()
            count += 1
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self.processes.sum([total, *gradients])
        return float(total) / count, gradients

    def loss(self, batch: Batch, draw: int) -> Tensor:
        """Return this process's part of the batch's loss; the parts of all processes add up to it. draw: a seed."""
        feeds = feeds_of(self.net, batch, self.device)
        if self.setup.job.vary:
            feeds[self.net.images] = shifted(feeds[self.net.images], np.random.default_rng(draw))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            values = self.torch(feeds, self._wanted)
        loss = sum(values[name].sum() * weight for name, weight in self._weights.items())
        if self.teacher is not None:
            loss = loss + self.teacher.loss(feeds[self.net.images], values) / self.processes.size
        return loss

    def test(self, whole: bool, most: int | None = None) -> list[dict[str, float]]:
        """See Learner."""
        return [
            tester.run(self.torch, self.device, most or (None if whole else tester.batches)) for tester in self.testers
        ]

    def trained(self) -> Graph:
        """See Learner."""
        self.torch.store()
        return self.net.graph

    @property
    def skipped(self) -> list[str]:
        """See Learner."""
        return self.loader.skipped

    @property
    def test_skipped(self) -> list[str]:
        """See Learner. All tests have the same images."""
        return self.testers[0].loader.skipped if self.testers else []

    @property
    def test_count(self) -> int:
        """See Learner. Until a test has come to them, images that cannot be read are in it."""
        return self.testers[0].loader.count - len(self.test_skipped) if self.testers else 0


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


def _loss_weights(net: TrainingNet, weights: dict[str, float], processes: int) -> dict[str, float]:
    """Return the losses' weights in one process's part of a batch, so that all parts add up to the whole."""
    blobs = {name: blob for name, blob in net.graph.finals.items() if name in weights}
    whole = {name for name, blob in blobs.items() if _is_mean(blob, net.shapes) or not _is_fed(blob, net)}
    return {name: weight / processes if name in whole else weight for name, weight in weights.items()}


def _is_fed(blob: Blob, net: TrainingNet) -> bool:
    """Return whether a blob depends on the images or labels; else each process has all of it."""
    fed = blob.name in (net.images, net.labels) and not blob.producer.bottoms
    return fed or any(_is_fed(bottom, net) for bottom in blob.producer.bottoms)


def _is_mean(blob: Blob, shapes: Mapping[Blob, Shape | None]) -> bool:
    """Return whether a blob that is minimised is a mean over the batch, or made of such ones, and not a sum."""
    layer = blob.producer
    if layer.type == "Reduction":
        return layer.params.operation == "MEAN" and shapes.get(blob) == ()
    if layer.type.endswith("Loss"):
        return getattr(layer.params, "normalization", "") != "NONE"
    return bool(layer.bottoms) and all(_is_mean(bottom, shapes) for bottom in layer.bottoms)
