"""How many iterations each stage gets, by default or within a time limit."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deepmerge.train.recover import TRAINED
from deepmerge.train.recover.objectives import MOST_KEPT, Answers, Objective
from deepmerge.train.recover.spec import Context, Settings
from deepmerge.train.recover.stage import StagePlan, judged_images, make_objective, stage_batches
from deepmerge.train.recover.trainer import FEWEST, RATES, Trainer
from deepmerge.train.shared.augment import USES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHARES = {"segments": 0.01, "chain": 0.04, "distill": 0.95}  # of the time
IMAGES = 1_200_000  # shown in all stages together, without a time limit
WORK = 1e14  # most multiplications without a time limit: about an hour on two CPU cores
_BATCH_WORK = 1e10  # most multiplications in a batch on a CPU
_SLOW = 0.5  # seconds for an eighth of a batch, above which only an eighth is measured
_SLACK = 0.92  # share of the time limit that is planned; the rest is for trying learning rates and the unforeseen
LEAST = 10  # iterations; with fewer, a stage is not worth its start
_FORWARD = 0.4  # share of an iteration's time that the same images take without gradients
_CACHED = 8  # most batches with cached answers, to measure their iterations

Fit = Callable[[float], int]  # seconds → the number of iterations that fit


def default_batch_size(macs: int, device: str) -> int:
    """Return the images of an iteration. macs: the original's for one image; a slow one learns from small batches."""
    if device != "cpu" or macs * 128 <= _BATCH_WORK:
        return 128
    return 64 if macs * 64 <= _BATCH_WORK else 32


def default_iterations(stages: Sequence[str], batch_size: int, macs: tuple[int, int]) -> dict[str, int]:
    """Return each stage's iterations. macs: the original's and the merged network's for one image."""
    images = min(IMAGES, WORK / max(1, macs[0] + 3 * macs[1]))  # backward takes twice as long as forward
    return {stage: math.ceil(SHARES[stage] * images / batch_size) for stage in stages if stage in TRAINED}


def measured_fits(context: Context, stages: Sequence[str], bf16: bool) -> dict[str, Fit]:
    """Return for each stage how many iterations fit into a time, as measured here. No weights change.

    bf16: whether distill computes in bfloat16.
    """
    fits = {}
    for name in stages:
        plan = StagePlan(name, 1, 0, bf16 and name == "distill")
        images = stage_batches(context, plan, context.sources.train.count)
        try:
            fits[name] = _measured_fit(context, plan, images)
        finally:
            images.close()
    return fits


def divided(seconds: float, fits: Mapping[str, Fit]) -> dict[str, int]:
    """Return each stage's iterations, such that they take their SHARES of the time.

    A stage that would get fewer than LEAST is left out, and the others get its time.
    """
    whole = sum(SHARES[stage] for stage in fits)
    counts = {stage: fit(max(seconds, 0) * _SLACK * SHARES[stage] / whole) for stage, fit in fits.items()}
    kept = {stage: fit for stage, fit in fits.items() if counts[stage] >= LEAST}
    return counts if len(kept) == len(fits) else divided(seconds, kept)


def after(overhead: float, fit: Fit) -> Fit:
    """Return how many iterations fit after `overhead` seconds."""
    return lambda seconds: fit(max(0.0, seconds - overhead))


def steady(cost: float) -> Fit:
    """Return how many iterations fit if each takes `cost` seconds."""
    return lambda seconds: int(seconds / cost)


def with_cache(asking: float, cached: float, epoch: float, mirrored: bool, kept: float = 1.0) -> Fit:
    """Return how many iterations fit if the original is asked only about images that it has not seen.

    Parameters
    ----------
    asking, cached
        Seconds of an iteration that asks about all of its images, and about none.
    epoch
        Iterations until each image has come once.
    mirrored
        Whether half of the images are mirrored at random.
    kept
        The share of the answers that fits into memory.
    """

    def fit(seconds: float) -> int:
        done, unknown = 0.0, 1.0
        while True:
            cost = cached + (asking - cached) * (1 - kept * (1 - unknown))
            if cost * epoch >= seconds or unknown < 1e-3:
                return int(done + seconds / cost)
            done, seconds = done + epoch, seconds - cost * epoch
            unknown = unknown / 2 if mirrored else 0.0

    return fit


def _measured_fit(context: Context, plan: StagePlan, images: Iterator[Tensor]) -> Fit:
    objective = make_objective(context, plan)
    asking = measure(_dry_step(plan, objective), images, context.device, context.settings)
    return after(_overhead(context, asking), _fit(context, plan, objective, asking))


def _overhead(context: Context, asking: float) -> float:
    """Return about the seconds that a stage takes besides its iterations: for its losses, and to try learning rates."""
    trials = 0 if context.job.lr else RATES - 1
    losses = _FORWARD * judged_images(context) / context.sources.train.batch_size
    return asking * ((2 + trials) * losses + trials * FEWEST)


def _fit(context: Context, plan: StagePlan, objective: Objective, asking: float) -> Fit:
    if plan.name != "distill" or not context.asks_once:
        return steady(asking)
    batches = max(1, min(_CACHED, int(context.settings.measured_seconds / asking)))
    cached = _cached_seconds(context, plan, batches)
    if context.job.vary:
        return steady(asking / USES + cached * (1 - 1 / USES))
    loader = context.sources.train
    mirrored = loader.preprocessing.mirror
    room = MOST_KEPT / max(1, objective.answer_bytes * loader.count * (2 if mirrored else 1))
    return with_cache(asking, cached, loader.count / loader.batch_size, mirrored, min(1.0, room))


def _cached_seconds(context: Context, plan: StagePlan, batches: int) -> float:
    """Return the seconds of an iteration on images whose answers are cached, in that number of batches."""
    objective = make_objective(context, plan, Answers())
    epochs = (itertools.islice(stage_batches(context, plan, batches), batches) for _ in itertools.count())
    again = itertools.chain.from_iterable(epochs)
    for images in itertools.islice(again, batches):
        objective.targets(images)
    return measure(_dry_step(plan, objective), again, context.device, context.settings)


def _dry_step(plan: StagePlan, objective: Objective) -> Callable[[Tensor], object]:
    """Return an iteration that changes no weight."""
    trainer = Trainer(objective, plan.name, 1, 0.0, [0.0] * len(objective.parameters), plan.bf16)
    return trainer.step


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
