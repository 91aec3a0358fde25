"""How many iterations each stage gets, by default or within a time limit."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deepmerge.train.recover import TRAINED
from deepmerge.train.recover.distillation import Batch
from deepmerge.train.recover.spec import Context, Settings, StagePlan
from deepmerge.train.recover.stage import USES, image_batches, judged_images, make_objective
from deepmerge.train.recover.trainer import FEWEST, RATES, Trainer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IMAGES = 1_200_000  # shown in all stages together, without a time limit
WORK = 1e14  # most multiplications without a time limit: about an hour on two CPU cores
_BATCH_WORK = 1e10  # most multiplications in a batch on a CPU
_SLOW = 1.0  # seconds for an eighth of a batch, above which only an eighth is measured
LEAST = 10  # iterations; with fewer, a stage is not worth its start
_FORWARD = 0.4  # share of an iteration's time that the same images take without gradients

Fit = Callable[[float], int]  # seconds → the number of iterations that fit


def default_batch_size(macs: int, device: str) -> int:
    """Return the images of an iteration. macs: the original's for one image; a slow one learns from small batches."""
    return 128 if _is_fast(macs, device) else 64


def usual_stages(macs: int, device: str, cut: tuple[str, ...], solved: bool) -> tuple[str, ...]:
    """Return the stages that run unless others are asked for.

    lsq runs once: on weights that have been trained since, it would undo a part of that.

    Where an iteration is fast, distill sees enough images: inception_mini has 67 % agreement after two minutes of it,
    and 57 % if tail has half of them. On a CPU, distill shows GoogLeNet so few in an hour that it learns them by heart,
    and front and tail do not.

    macs: the original's for one image. cut: see cut.stages_at. solved: whether an earlier recovery has run lsq.
    """
    trained = cut if cut and not _is_fast(macs, device) else ("distill",)
    return trained if solved else ("lsq", *trained)


def _is_fast(macs: int, device: str) -> bool:
    return device != "cpu" or macs * 128 <= _BATCH_WORK


def default_iterations(stages: Sequence[str], batch_size: int, macs: tuple[int, int]) -> dict[str, int]:
    """Return each stage's iterations. macs: the original's and the merged network's for one image."""
    images = min(IMAGES, WORK / max(1, macs[0] + 3 * macs[1]))  # backward takes twice as long as forward
    trained = [stage for stage in stages if stage in TRAINED]
    return {stage: math.ceil(images / len(trained) / batch_size) for stage in trained}


def measured_fits(context: Context, stages: Sequence[str], bf16: bool) -> dict[str, Fit]:
    """Return for each stage how many iterations fit into a time, as measured here. No weights change.

    bf16: whether they compute in bfloat16.
    """
    return {name: _measured_fit(context, StagePlan(name, 1, 0, bf16)) for name in stages}


def divided(seconds: float, fits: Mapping[str, Fit]) -> dict[str, int]:
    """Return each stage's iterations, such that all take equally long.

    If a stage would get fewer than LEAST, the one with the fewest is left out, and the others get its time.
    """
    counts = {stage: fit(max(seconds, 0) / len(fits)) for stage, fit in fits.items()}
    fewest = min(counts, key=lambda stage: counts[stage], default=None)
    if fewest is None or counts[fewest] >= LEAST:
        return counts
    return divided(seconds, {stage: fit for stage, fit in fits.items() if stage != fewest})


def after(overhead: float, fit: Fit) -> Fit:
    """Return how many iterations fit after `overhead` seconds."""
    return lambda seconds: fit(max(0.0, seconds - overhead))


def steady(cost: float) -> Fit:
    """Return how many iterations fit if each takes `cost` seconds."""
    return lambda seconds: int(seconds / cost)


def _measured_fit(context: Context, plan: StagePlan) -> Fit:
    """Return how many iterations of a stage fit, which asks the original about each view once.

    Views that are kept are not loaded again; to read them takes a hundredth of an iteration, and is not counted.
    """
    objective = make_objective(context, plan)
    trainer = Trainer(objective, plan, 0.0, [0.0] * len(objective.parameters))
    known: dict[int, Batch] = {}  # by the number of images

    def asking(images: Tensor) -> None:
        trainer.step(objective.ask(images))

    def again(images: Tensor) -> None:
        if len(images) not in known:
            known[len(images)] = objective.ask(images)
        batch = known[len(images)]
        trainer.step(batch if objective.keeps_start else Batch({objective.start: images}, batch.targets))

    images = image_batches(context, plan)
    try:
        first = measure(asking, images, context.device, context.settings)
        known_images = itertools.repeat(next(images)) if objective.keeps_start else images
        later = measure(again, known_images, context.device, context.settings)
    finally:
        images.close()
    uses = USES[plan.name]
    return after(_overhead(context, first), steady((first + later * (uses - 1)) / uses))


def _overhead(context: Context, asking: float) -> float:
    """Return about the seconds that a stage takes besides its iterations: for its losses, and to try learning rates."""
    trials = 0 if context.job.lr else RATES - 1
    losses = _FORWARD * judged_images(context) / context.sources.train.batch_size
    return asking * ((2 + trials) * losses + trials * FEWEST)


def measure(
    step: Callable[[Tensor], object], images: Iterator[Tensor], device: torch.device, settings: Settings
) -> float:
    """Return the seconds that a batch takes: loading it, and `step`."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def seconds_of(batches: Iterator[Tensor]) -> float:
        wait()
        start = settings.clock()
        step(next(batches))
        wait()
        return settings.clock() - start

    batch = next(images)
    small = batch[: max(1, len(batch) // 8)]
    parts = itertools.repeat(small)
    seconds_of(parts)  # warm up
    if (seconds := seconds_of(parts)) > _SLOW:
        return min(seconds, seconds_of(parts)) * len(batch) / len(small)
    seconds_of(images)
    measured: list[float] = []
    while not measured or sum(measured) < settings.measured_seconds:
        measured.append(seconds_of(images))
    return statistics.median(measured)
