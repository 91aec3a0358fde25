"""The stages of a job on PyTorch: the network that learns, the original as its teacher, and the tests."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmerge.data import Batch, Loader, Loading, network_transform, open_network_images
from deepmerge.data.prefetch import prefetched
from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import DeepmergeError, ReadError
from deepmerge.formats.read.solver import Solver
from deepmerge.formats.read.training import TrainingNet, losses, multipliers, read_training
from deepmerge.formats.read.weights import Weights
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.solver import Learned, Updates, learning_rate
from deepmerge.train.finetune.spec import Job, Stage, solver_tests
from deepmerge.train.finetune.start import load_start
from deepmerge.train.shared.augment import shifted
from deepmerge.train.shared.device import BF16_LOSS, has_fast_bf16, prepare
from deepmerge.train.shared.losses import divergence, logits_of
from deepmerge.train.shared.processes import Processes

_SCORED = ("HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")  # labels are class indices
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
    options = {"seed": setup.seed, "shuffle": job.shuffle, "limit": job.limit, "classes": _classes(net, loss)}
    options["ignored"] = _ignored(net.graph)
    loader, image_notes = _loader(job.data, job, deploy, net, processes.share(net.batch_size), **options)
    testers = _testers(stage, net, deploy, starts, setup) if job.test_data and processes.first else []
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
        feeds = _feeds(self.net, batch, self.device)
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
        return [tester.run(self, most or (None if whole else tester.batches)) for tester in self.testers]

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


@dataclass
class Tester:
    """A TEST network and its images.

    batches: the number of batches in a test, at most all. scores: the blob that the labels are compared with, or None.
    """

    net: TrainingNet
    loader: Loader
    batches: int
    scores: str | None

    def run(self, learner: TorchLearner, most: int | None) -> dict[str, float]:
        """Return the means of the network's outputs (Accuracy, losses) by blob name, `top1` and `images`.

        The weights are the learner's. most: batches at most, None to take all images.
        """
        learner.torch.store(self.net.graph)
        net = TorchNet(self.net.graph, "TEST").to(learner.device)
        graph = self.net.graph
        outputs = [blob.name for blob in graph.outputs if blob not in graph.inputs]  # labels may be read by nobody
        has_top1 = bool(self.scores and self.net.labels)
        wanted = [*outputs, self.scores] if has_top1 else outputs
        sums, right, judged, images = dict.fromkeys(outputs, 0.0), 0, 0, 0
        for number, batch in enumerate(self.loader.once()):
            if number == most:
                break
            with torch.no_grad():
                values = net(_feeds(self.net, batch, learner.device), wanted)
            for name in outputs:
                sums[name] += float(values[name].double().mean()) * len(batch.data)
            if has_top1:
                kept = batch.labels != self.loader.loading.ignored
                right += _count_right(values[self.scores], batch.labels, kept)
                judged += int(kept.sum())
            images += len(batch.data)
        means = {name: value / images for name, value in sums.items()}
        return means | ({"top1": right / max(judged, 1)} if has_top1 else {}) | {"images": images}


def _count_right(scores: Tensor, labels: np.ndarray, kept: np.ndarray) -> int:
    """Return for how many of the kept images the class with the highest score is the label."""
    best = scores.flatten(1).argmax(1).cpu().numpy()
    return int((best == labels)[kept].sum())


def _loader(
    spec: str, job: Job, deploy: Graph, net: TrainingNet, batch_size: int, **options: Any
) -> tuple[Loader, list[str]]:
    """Return the images for a network of either phase, preprocessed as its data layers or the user say, and notes."""
    images = open_network_images(spec, deploy)
    train, labelled = net.phase == "TRAIN", net.labels is not None
    how, notes = images.preprocessing(network_transform(net.graph, net.file, net.phase), job.wishes, train)
    loading = Loading(train=train, labelled=labelled, strict=job.strict, cache_bytes=job.cache_bytes, **options)
    return Loader(images.source, how, images.shape, batch_size, loading), notes


def main_loss(graph: Graph) -> Layer:
    """Return the loss layer of the largest weight, the last one if there are several."""
    weighted = losses(graph)
    largest = max(weight for _, weight in weighted)
    return [blob.producer for blob, weight in weighted if weight == largest][-1]


def _classes(net: TrainingNet, loss: Layer) -> int | None:
    """Return the number of classes; None where labels are not classes."""
    shape = net.shapes.get(loss.bottoms[0])
    if loss.type not in _SCORED or shape is None or len(shape) < 2:
        return None
    return shape[getattr(loss.params, "axis", 1)]


def _ignored(graph: Graph) -> int | None:
    """Return the label that every loss and accuracy of classes ignores; None if they do not agree on one."""
    judges = [layer for layer in graph.layers if layer.type in (*_SCORED, "Accuracy")]
    ignored = {getattr(layer.params, "ignore_label", None) for layer in judges}
    return ignored.pop() if len(ignored) == 1 else None


def _testers(
    stage: Stage, train: TrainingNet, deploy: Graph, starts: Sequence[Path | Weights], setup: Setup
) -> list[Tester]:
    """Return the solver's tests, all on the same images; without any, its training network in the TEST phase."""
    job, loss = setup.job, main_loss(train.graph)
    scores = loss.bottoms[0].name
    testers = []
    for source, batches in solver_tests(stage.solver):
        net = read_training(source, "TEST", stage.image_shape(deploy), job.batch_size)
        load_start(net, starts, setup.seed)
        options = {"shuffle": False, "classes": _classes(train, loss), "ignored": _ignored(net.graph)}
        loader, _ = _loader(job.test_data, job, deploy, net, net.batch_size, **options)
        known = loss.type in _SCORED and any(blob.name == scores for blob in net.graph.blobs)
        testers.append(Tester(net, loader, batches or loader.count, scores if known else None))
    return testers
