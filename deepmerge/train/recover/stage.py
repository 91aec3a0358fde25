"""The stages that train: networks on a device, an objective, a trainer, and their checkpoints."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.train.recover.cut import is_learned
from deepmerge.train.recover.distillation import FEATURE_WEIGHTS, Compared, Distillation, compared_blobs
from deepmerge.train.recover.images import Feed
from deepmerge.train.recover.optimizer import step_sizes
from deepmerge.train.recover.report import trained_entry
from deepmerge.train.recover.sensitivity import sensitivity
from deepmerge.train.recover.spec import Context, StagePlan
from deepmerge.train.recover.trainer import (
    FRONT_FULL,
    FULL,
    Pace,
    Trainer,
    largest_rate,
    mean_losses,
    rates_for,
    trial_length,
)
from deepmerge.train.recover.views import MOST_KEPT, Kept, Rounds, Views
from deepmerge.train.shared.augment import all_varied
from deepmerge.train.shared.checkpoint import Saved
from deepmerge.train.shared.device import has_fast_bf16

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch import TorchNet

JUDGED = 256  # images to measure a stage's losses on; at most half of those held out, or LEAST_JUDGED
LEAST_JUDGED = 64
SIZED = 32  # images to measure the size of a layer's outputs on
SENSED = 256  # images to measure the sensitivity of the scores on
USES = {"front": 4, "tail": 3, "distill": 4}  # times that a view is shown


class TrainedStage:
    """One of the stages front, tail and distill.

    folder: where it keeps the views and the original's answers while it runs. under_way: the checkpoint to continue
    from. judging: about the seconds that its losses take.
    """

    def __init__(self, context: Context, plan: StagePlan, folder: Path, under_way: Saved | None = None):
        self.context, self.plan = context, plan
        self.clock = context.settings.clock
        self.start = self.clock()
        self.objective = make_objective(context, plan, weighted=True)
        self.held_out = [self.objective.ask(images) for images in held_out_batches(context)]
        kept = Kept(
            folder / f"{plan.name}.views", self.objective.kept(), *(under_way.meta["kept"] if under_way else ())
        )
        self.views = make_views(context, plan, self.objective, kept)
        if under_way is None:
            self.seconds = 0.0
            self.before = self._losses()
            self.judging = self.clock() - self.start
            self.sizes = self._sizes()
            self.trainer = self._trainer(context.job.lr or self._rate())
        else:
            arrays, meta = under_way
            self.seconds, self.before, self.sizes = meta["seconds"], meta["before"], meta["sizes"]
            self.judging = meta["judging"]
            self.trainer = self._trainer(context.job.lr or meta["lr"])
            self.trainer.restore(meta["iteration"], meta["position"], arrays)

    def run(self, pace: Pace, save: Callable[..., None], end: float = math.inf) -> None:
        """Train, and store the weights in the merged graph. save: see Run.save. end: when to be done, by the clock."""
        batches = self.views.batches(self.trainer.iteration)
        try:
            self.trainer.run(batches, pace, lambda: self._save(save), self._report_progress, end - self.judging)
        finally:
            batches.close()
        self.objective.student.store(self.context.merged)
        self.after = self._losses()
        self.views.kept.close()

    def entry(self) -> dict[str, Any]:
        """Return the report's entry."""
        asked = {
            "seconds": self._elapsed,
            "iterations": self.trainer.iteration,
            "batch_size": self.context.job.batch_size,
            "views": self.views.rounds.views(self.trainer.iteration),
            "lr": self.trainer.lr,
            "precision": "bf16" if self.plan.bf16 else "fp32",
        }
        if self.objective.is_cut:
            asked["cut"] = self.objective.start
        losses = zip(self.objective.parts, self.before, self.after, strict=True)
        return trained_entry(self.plan.name, asked, losses)

    @property
    def _elapsed(self) -> float:
        return self.seconds + self.clock() - self.start

    def _rate(self) -> float:
        """Return the learning rate that does best in trials."""
        iterations = self.plan.iterations
        self.context.progress(f"{self.plan.name}, trying learning rates", 0, 1)
        return largest_rate(
            lambda lr: self._trainer(lr, replace(self.plan, iterations=trial_length(iterations), timed=False)),
            rates_for(iterations, FRONT_FULL if self.plan.name == "front" else FULL),
            self.views.batches,
            lambda: sum(self._losses()),
            sum(self.before),
        )

    def _trainer(self, lr: float, plan: StagePlan | None = None) -> Trainer:
        return Trainer(self.objective, plan or self.plan, lr, self.sizes)

    def _sizes(self) -> list[float]:
        """Return the step size of each parameter at the stage's start."""
        batch = next(held_out_batches(self.context, SIZED))
        sizes = step_sizes(self.objective.student, self.context.merged, {self.context.sources.input: batch})
        return [sizes[blob] for blob in self.objective.parameters]

    def _losses(self) -> list[float]:
        return mean_losses(self.objective, self.held_out)

    def _save(self, save: Callable[..., None]) -> None:
        self.objective.student.store(self.context.merged)
        self.views.kept.flush()
        under_way = {
            "iteration": self.trainer.iteration,
            "position": self.trainer.position,
            "seconds": self._elapsed,
            "before": self.before,
            "sizes": self.sizes,
            "judging": self.judging,
            "lr": self.trainer.lr,
            "kept": (self.views.kept.count, self.views.kept.number),
        }
        save(self.trainer.where, self.trainer.arrays(), under_way)

    def _report_progress(self, loss: float) -> None:
        done = min(int(self.trainer.position), self.plan.iterations)
        self.context.progress(f"{self.plan.name}, loss {loss:.4g}", done, self.plan.iterations)


def make_objective(context: Context, plan: StagePlan, weighted: bool = False) -> Distillation:
    """Return what the stage minimises, on networks of its own.

    weighted: whether front weighs errors by the sensitivity of the scores, which takes some seconds to measure.
    """
    nets, graphs, cut = _networks(context), (context.original, context.merged), context.cut
    if plan.name == "front":
        matrix = _sensitivity(context, plan, nets[0]) if weighted else None
        return Distillation(nets, graphs, [Compared(cut, cut, matrix=matrix)], bf16=plan.bf16)
    start, feature = cut if plan.name == "tail" else None, context.feature
    if start and feature and not is_learned(feature, start, context.merged):
        feature = None
    compared = compared_blobs(*graphs, feature, FEATURE_WEIGHTS[plan.name])
    return Distillation(nets, graphs, compared, start, plan.bf16)


def _sensitivity(context: Context, plan: StagePlan, teacher: TorchNet) -> Tensor:
    """Return how sensitive the original's scores are to errors at the cut; see sensitivity.py."""
    scores, batches = compared_blobs(context.original, context.merged), image_batches(context, plan)
    few = math.ceil(SENSED / context.sources.train.batch_size)
    try:
        return sensitivity(teacher, context.cut, scores, itertools.islice(batches, few), context.job.seed)
    finally:
        batches.close()


def make_views(context: Context, plan: StagePlan, objective: Distillation, kept: Kept) -> Views:
    """Return the stage's batches."""
    batch_size, uses = context.sources.train.batch_size, USES[plan.name]
    period = period_of(plan.iterations, uses, MOST_KEPT // (batch_size * kept.row_bytes))
    images = functools.partial(image_batches, context, plan)
    return Views(objective, images, Rounds(period, uses, batch_size), kept)


def period_of(iterations: int, uses: int, room: int) -> int:
    """Return the batches of a set of views, at most `room`: all sets are about as large, so that each is used fully."""
    needed = max(1, math.ceil(iterations / uses))
    return math.ceil(needed / math.ceil(needed / max(1, room)))


def _networks(context: Context) -> tuple[TorchNet, TorchNet]:
    """Return the original, which is not trained, and the merged network."""
    import torch

    from deepmerge.engines.pytorch import TorchNet

    teacher, student = (
        TorchNet(graph).to(context.device).to(memory_format=torch.channels_last)
        for graph in (context.original, context.merged)
    )
    teacher.requires_grad_(False)
    return teacher, student


def held_out_batches(context: Context, most: int | None = None) -> Iterator[Tensor]:
    """Yield up to `most` held-out images; by default as many as losses are measured on."""
    return Feed(context.sources.judge, context.device).once(most or judged_images(context))


def judged_images(context: Context) -> int:
    """Return the number of images that losses are measured on."""
    return max(LEAST_JUDGED, min(JUDGED, context.sources.held_out // 2))


def image_batches(context: Context, plan: StagePlan, start: int = 0) -> Generator[Tensor, None, None]:
    """Yield the stage's images, changed at random as asked for, from batch number `start` on."""
    feed, first = Feed(context.sources.train, context.device), plan.first_batch + start
    return all_varied(feed.batches, context.job.seed, first) if context.job.vary else feed.batches(first)


def bf16_is_accurate(context: Context, name: str) -> bool:
    """Return whether the device is faster in bfloat16, and that adds little to the stage's loss before it.

    Otherwise the network would learn to compensate the rounding. For example, AlexNet's loss after refit is 0.072 on
    one batch, 0.120 in bfloat16; 60 iterations then raise the held-out loss from 0.051 to 0.103, in float32 to 0.053.
    """
    if not has_fast_bf16(context.device):
        return False
    objective = make_objective(context, StagePlan(name, 1))
    held_out = [objective.ask(images) for images in held_out_batches(context)]
    exact, rounded = (sum(mean_losses(objective, held_out, bf16)) for bf16 in (False, True))
    return rounded <= context.settings.bf16_loss * exact
