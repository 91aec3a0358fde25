"""One stage on PyTorch: its networks, its images, its weights; then the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from deepmerge.data import ImageWishes, Loader, Preprocessing, choose_preprocessing, image_input, open_images
from deepmerge.data.open_loader import GUESS
from deepmerge.errors import ReadError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.solver import NetSource
from deepmerge.formats.read.training import TrainingNet, load_weights, losses, read_training
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.finetune.fillers import fill
from deepmerge.train.finetune.loop import Keeping, Loop
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.progress import Tell
from deepmerge.train.finetune.stages import Stage, override_weights
from deepmerge.train.finetune.student import Student, Tester
from deepmerge.train.finetune.teacher import Distilling, Teacher

_SCORED = ("HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")  # a class's index is their label


@dataclass(frozen=True)
class Feeding:
    """Which images are fed, and how. batch_size: in the place of the data layers'."""

    data: str
    test_data: str | None = None
    batch_size: int | None = None
    wishes: ImageWishes = ImageWishes()
    shuffle: bool = True
    strict: bool = False
    limit: int | None = None
    vary: bool = False


def make_loop(
    stage: Stage, starts: Sequence[Path], feeding: Feeding, seed: int, device: torch.device, processes: Processes,
    keeping: Keeping, teacher: tuple[Graph, Distilling] | None = None, tell: Tell = lambda line: None,
    limit: float | None = None, pause: float | None = None,
) -> tuple[Loop, list[str]]:  # fmt: skip
    """A stage ready to run, and what to tell the user. starts: its caffemodels, later ones overriding; the rest: see Loop.

    ReadError, GraphError, ShapeError, one line, where networks, weights or images do not fit together.
    """
    deploy = stage.pair.read()
    shape = image_shape(deploy, stage)
    net = read_training(stage.solver.train, "TRAIN", shape, feeding.batch_size)
    notes = net.graph.warnings + _start(net, starts, seed)
    end = judged(net.graph)
    taught = Teacher(teacher[0], end.bottoms[0].name, teacher[1], device) if teacher else None
    if feeding.vary and len(shape) != 3:
        raise ReadError(
            f"the input is {' x '.join(map(str, shape))}, and --vary shifts images, which are channels x height x width"
        )
    student = Student(net, device, processes, seed, taught, feeding.vary)
    if not student.blobs:
        raise ReadError(
            "every layer's lr_mult is 0, so that nothing can learn; see to its `param` messages",
            stage.solver.train.path,
        )
    share = processes.share(net.batch_size)
    options = {"seed": seed, "shuffle": feeding.shuffle, "limit": feeding.limit, "classes": _classes(net, end)}
    loader, told = _loader(feeding.data, feeding, deploy, net, share, **options)
    testers = (
        _testers(stage, net, deploy, shape, starts, feeding, seed) if feeding.test_data and processes.first else []
    )
    return Loop(stage.solver, student, loader, testers, keeping, tell, limit, pause), notes + told


def _loader(
    spec: str, feeding: Feeding, deploy: Graph, net: TrainingNet, batch_size: int, **options: Any
) -> tuple[Loader, list[str]]:
    """Images for a network of either phase, preprocessed as its data layers say, or as the user does."""
    images = open_images(spec)
    _, shape = image_input(deploy, images)
    how, notes = Preprocessing(), []
    if not images.ready:
        guessed = GUESS in "".join(net.file.read_text(errors="replace").splitlines()[:3])
        wishes = asdict(feeding.wishes)
        how, notes = choose_preprocessing(
            net.graph, shape, **wishes, folder=net.file.parent, phase=net.phase, guessed=guessed
        )
    options |= {"train": net.phase == "TRAIN", "strict": feeding.strict, "labelled": net.labels is not None}
    return Loader(images, how, shape, batch_size, **options), notes


def image_shape(deploy: Graph, stage: Stage) -> tuple[int, ...]:
    """What the network takes, without the batch; ReadError where that is not one image."""
    if len(deploy.inputs) != 1:
        names = ", ".join(blob.name for blob in deploy.inputs)
        raise ReadError(f"has {len(deploy.inputs)} inputs ({names}), and only images can be fed", stage.pair.prototxt)
    shape = infer_shapes(deploy, strict=False)[deploy.inputs[0]]
    if shape is None:
        raise ReadError(f"the input {deploy.inputs[0].name!r} has no shape; give its `shape`", stage.pair.prototxt)
    return tuple(shape[1:])


def _start(net: TrainingNet, starts: Sequence[Path], seed: int) -> list[str]:
    """The network's weights: the first file's as they stand, the others' where they fit, fillers' for the rest."""
    load_weights(net, starts[:1])
    later = {layer.name for file in starts[1:] for layer in read_caffemodel(file) if layer.blobs}
    notes = fill(net.graph, net.shapes, seed, later)
    for file in starts[1:]:
        override_weights(net.graph, file)
    return notes


def judged(graph: Graph) -> Layer:
    """The main loss: of the largest weight, the last of several."""
    found = losses(graph)
    largest = max(weight for _, weight in found)
    return [blob.producer for blob, weight in found if weight == largest][-1]


def _classes(net: TrainingNet, loss: Layer) -> int | None:
    """How many classes the labels may have; None where they are no classes."""
    shape = net.shapes.get(loss.bottoms[0])
    if loss.type not in _SCORED or shape is None or len(shape) < 2:
        return None
    axis = getattr(loss.params, "axis", 1)
    return shape[axis]


def _testers(
    stage: Stage,
    train: TrainingNet,
    deploy: Graph,
    shape: tuple[int, ...],
    starts: Sequence[Path],
    feeding: Feeding,
    seed: int,
) -> list[Tester]:
    """The tests that the solver names, all on the same images; where it names none, its training network's TEST phase."""
    sources: Sequence[tuple[NetSource, int]] = stage.solver.tests or ((stage.solver.train, 0),)
    made = []
    for source, batches in sources:
        net = read_training(source, "TEST", shape, feeding.batch_size)
        _start(net, starts, seed)
        classes = _classes(train, judged(train.graph))
        loader, _ = _loader(feeding.test_data, feeding, deploy, net, net.batch_size, shuffle=False, classes=classes)
        scores = judged(train.graph).bottoms[0].name
        known = judged(train.graph).type in _SCORED and any(blob.name == scores for blob in net.graph.blobs)
        made.append(Tester(net, loader, batches or loader.count, scores if known else None))
    return made


def images_of(loader: Loader) -> dict[str, object]:
    """What a report says of the images."""
    return {"count": loader.count, "skipped": loader.skipped}
