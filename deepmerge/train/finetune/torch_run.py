"""The stages of a job on PyTorch: networks, images and start weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepmerge.data import Loader, Loading, network_transform, open_network_images
from deepmerge.errors import ReadError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.solver import NetSource
from deepmerge.formats.read.training import TrainingNet, losses, read_training
from deepmerge.formats.read.weights import load_weights
from deepmerge.graph.graph import Graph, Layer
from deepmerge.train.finetune.fillers import fill
from deepmerge.train.finetune.loop import Control, Loop
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.report import Arrays, stage_entry
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.finetune.student import Student, Teacher, Tester
from deepmerge.train.shared.device import prepare

_SCORED = ("HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")  # labels are class indices


class TorchRunner(Runner):
    """Run the stages on --device; of several processes each has a GPU of its own."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        job, device = self.job, self.job.device
        if device == "cuda" and self.processes.size > 1:
            device = f"cuda:{self.processes.local_rank}"
        teacher = self.converted.original.read() if job.distill else None
        self.setup = Setup(job, self.seed, prepare(device, job.threads, self.seed), self.processes, teacher)

    def run(self):
        """See Runner.run."""
        trained, entry = super().run()
        return trained, entry | {"device": str(self.setup.device), "processes": self.processes.size}

    def train(
        self, number: int, starts: list[Path], arrays: Arrays, log: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """See Runner.train."""
        loop, notes = make_loop(self.stages[number], starts, self.setup, self._control(number))
        self.note(notes)
        if log is not None:
            loop.load(arrays, log)
        ended, student = loop.run(), loop.student
        student.store()
        if skipped := loop.loader.skipped:
            self.note([f"{len(skipped)} of {loop.loader.count} images could not be read; the first: {skipped[0]}"])
        entry = stage_entry(self.stages[number], ended, student.net.batch_size)
        return student.net.graph, entry | {"images": {"count": loop.loader.count, "skipped": skipped}}

    def _control(self, number: int) -> Control:
        def save(arrays: Arrays, log: dict[str, Any]) -> None:
            self.save(self.place(number, log["iteration"]), arrays, log)
            self.snapshots(number).mkdir(exist_ok=True)

        return Control(
            save=save,
            snapshots=self.snapshots(number),
            checkpoint_seconds=self.job.checkpoint_seconds,
            say=self.say,
            seconds=self.time_left(),
            pause_at=self.pause_at,
            clock=self.clock,
        )


@dataclass(frozen=True)
class Setup:
    """What all stages of a job share. teacher: the original, None without --distill."""

    job: Job
    seed: int
    device: torch.device
    processes: Processes = Processes()
    teacher: Graph | None = None


def make_loop(stage: Stage, starts: Sequence[Path], setup: Setup, control: Control) -> tuple[Loop, list[str]]:
    """Return a stage that is ready to run, and notes for the user. starts: its caffemodels, later ones overriding.

    ReadError, GraphError or ShapeError where networks, weights or images do not fit together.
    """
    job, processes = setup.job, setup.processes
    deploy = stage.pair.read()
    shape = stage.image_shape(deploy)
    if job.vary and len(shape) != 3:
        size = " x ".join(map(str, shape))
        raise ReadError(f"the input is {size}, and --vary shifts images, which are channels x height x width")
    net = read_training(stage.solver.train, "TRAIN", shape, job.batch_size)
    notes = net.graph.warnings + _start(net, starts, setup.seed)
    loss = main_loss(net.graph)
    teacher = None
    if setup.teacher is not None:
        teacher = Teacher(setup.teacher, loss.bottoms[0].name, job, setup.device)
    student = Student(net, setup.device, processes, setup.seed, teacher, job.vary)
    if not student.blobs:
        raise ReadError(
            "every layer's lr_mult is 0, so nothing can learn",
            stage.solver.train.path,
            remedy="check its `param` messages",
        )
    options = {"seed": setup.seed, "shuffle": job.shuffle, "limit": job.limit, "classes": _classes(net, loss)}
    loader, image_notes = _loader(job.data, job, deploy, net, processes.share(net.batch_size), **options)
    testers = []
    if job.test_data and processes.first:
        testers = _testers(stage, net, deploy, starts, setup)
    return Loop(stage.solver, student, loader, testers, control), notes + image_notes


def _loader(
    spec: str, job: Job, deploy: Graph, net: TrainingNet, batch_size: int, **options: Any
) -> tuple[Loader, list[str]]:
    """Return the images for a network of either phase, preprocessed as its data layers or the user say, and notes."""
    images = open_network_images(spec, deploy)
    train, labelled = net.phase == "TRAIN", net.labels is not None
    how, notes = images.preprocessing(network_transform(net.graph, net.file, net.phase), job.wishes, train)
    loading = Loading(train=train, labelled=labelled, strict=job.strict, cache_bytes=job.cache_bytes, **options)
    return Loader(images.source, how, images.shape, batch_size, loading), notes


def _start(net: TrainingNet, starts: Sequence[Path], seed: int) -> list[str]:
    """Load the first file's weights, then the others' where they fit; fill the rest. Returns notes for the user."""
    load_weights(net.graph, starts[0], net.shapes)
    later = {layer.name for file in starts[1:] for layer in read_caffemodel(file) if layer.blobs}
    notes = fill(net.graph, net.shapes, seed, later)
    for file in starts[1:]:
        load_weights(net.graph, file, misfits="skip")
    return notes


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


def _testers(stage: Stage, train: TrainingNet, deploy: Graph, starts: Sequence[Path], setup: Setup) -> list[Tester]:
    """Return the solver's tests, all on the same images; without any, its training network in the TEST phase."""
    job, loss = setup.job, main_loss(train.graph)
    scores = loss.bottoms[0].name
    sources: Sequence[tuple[NetSource, int]] = stage.solver.tests or ((stage.solver.train, 0),)
    testers = []
    for source, batches in sources:
        net = read_training(source, "TEST", stage.image_shape(deploy), job.batch_size)
        _start(net, starts, setup.seed)
        classes = _classes(train, loss)
        loader, _ = _loader(job.test_data, job, deploy, net, net.batch_size, shuffle=False, classes=classes)
        known = loss.type in _SCORED and any(blob.name == scores for blob in net.graph.blobs)
        testers.append(Tester(net, loader, batches or loader.count, scores if known else None))
    return testers
