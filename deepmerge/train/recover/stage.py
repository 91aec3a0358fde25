"""The stages that train, as parts of a run: networks on a device, an objective, a trainer, its checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deepmerge.train.recover import report as story
from deepmerge.train.recover.budget import divided, measure, rates_for, sinking, steady
from deepmerge.train.recover.distill import MOST_KEPT, Answers, Distillation
from deepmerge.train.recover.images import Feed
from deepmerge.train.recover.lr_search import largest_rate, trial_length
from deepmerge.train.recover.reconstruct import Reconstruction
from deepmerge.train.recover.trainer import Trainer, judged
from deepmerge.train.recover.update_sizes import scales
from deepmerge.train.shared.augment import USES, all_varied
from deepmerge.train.shared.device import has_fast_bf16

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepmerge.engines.pytorch import TorchNet
    from deepmerge.train.recover.run import Run
    from deepmerge.train.shared.checkpoint import Saved

JUDGED = 256  # images, half of those held out, that a stage's losses are measured on
LEAST_JUDGED = 64
_ASKED = 8  # batches that the original has been asked about, to measure by
ROUNDING = 1.02  # times as large as in float32 a loss may be in bfloat16; what is learned makes it smaller, and not the rounding
SIZED = 32  # images that say how large the values behind a layer are


class TrainedStage:
    """One of the stages segments, chain and distill. under_way: the checkpoint to go on from."""

    def __init__(self, run: Run, name: str, under_way: Saved | None = None):
        self.ran, self.name, self.iterations = run, name, run.iterations[name]
        self.start = time.monotonic()
        self.answers = Answers() if name == "distill" and repeats(run) else None
        self.objective = objective(run, name, self.answers)
        if under_way is None:
            self.seconds, self.agreement = 0.0, None
            self.before = self._losses()
            self.sizes = self._sizes()
            self.trainer = self._trainer(run.job.lr or self._rate())
        else:
            arrays, meta = under_way
            self.seconds, self.agreement, self.before = meta["seconds"], meta["agreement"], meta["before"]
            self.sizes = meta["sizes"]
            self.trainer = self._trainer(run.job.lr or meta["lr"])
            self.trainer.restore(meta["iteration"], arrays)
            if self.answers is not None:
                self.answers.restore(arrays)

    def run(self) -> None:
        """To the end; the run's merged graph has the weights."""
        images = self._images(self.trainer.iteration)
        try:
            self.trainer.run(images, self.ran.pace, self._save, self._tell)
        finally:
            images.close()
        self.student.store(self.ran.merged)
        self.after = self._losses()

    def entry(self) -> dict[str, Any]:
        job = self.ran.job
        asked = {
            "seconds": self._took,
            "iterations": self.iterations,
            "batch_size": job.batch_size,
            "lr": self.trainer.lr,
        }
        asked["precision"] = "bf16" if self.trainer.halves else "fp32"
        return story.trained_entry(self.name, asked, zip(self.objective.parts, self.before, self.after, strict=True))

    @property
    def student(self) -> TorchNet:
        return self.objective.student

    @property
    def _took(self) -> float:
        return self.seconds + time.monotonic() - self.start

    @property
    def _first_batch(self) -> int:
        """Behind those of the stages before."""
        stages = self.ran.job.stages
        before = stages[: stages.index(self.name)]
        return sum(count for name, count in self.ran.iterations.items() if name in before)

    def _images(self, start: int) -> Iterator[Tensor]:
        """Batch `start` of the stage, and those behind it."""
        return shown(self.ran, self.name, math.ceil(self.iterations / USES), self._first_batch, start)

    def _rate(self) -> float:
        length = trial_length(self.iterations)
        self.ran.progress(f"{self.name}, trying learning rates", 0, 1)
        return largest_rate(
            lambda lr: self._trainer(lr, length),
            rates_for(self.iterations),
            lambda: self._images(0),
            lambda: sum(self._losses()),
            sum(self.before),
        )

    def _trainer(self, lr: float, iterations: int | None = None) -> Trainer:
        return Trainer(
            self.objective, self.name, iterations or self.iterations, lr, self.sizes, halves(self.ran, self.name)
        )

    def _sizes(self) -> list[float]:
        """Of the parameters, as the stage begins."""
        batch = next(_judging(self.ran, SIZED))
        found = scales(self.student, self.ran.merged, {self.ran.sources.input: batch})
        return [found[blob] for blob in self.objective.parameters]

    def _losses(self) -> list[float]:
        return judged(self.objective, _judging(self.ran))

    def _save(self) -> None:
        self.student.store(self.ran.merged)
        arrays = self.trainer.arrays() | (self.answers.arrays() if self.answers is not None else {})
        under_way = {
            "iteration": self.trainer.iteration,
            "seconds": self._took,
            "agreement": self.agreement,
            "before": self.before,
            "sizes": self.sizes,
            "lr": self.trainer.lr,
        }
        self.ran.save(f"stage {self.name}, iteration {self.trainer.iteration} of {self.iterations}", arrays, under_way)

    def _tell(self, iteration: int, loss: float) -> None:
        self.ran.progress(f"{self.name}, loss {loss:.4g}", iteration, self.iterations)


def device_of(run: Run) -> torch.device:
    import torch

    return torch.device(run.job.device)


def objective(run: Run, name: str, answers: Answers | None = None) -> Any:
    """What the stage makes small, on networks of its own."""
    nets = _networks(run)
    if name == "distill":
        return Distillation(*nets, (run.original, run.merged), run.sources.input, answers, halves(run, name))
    made = Reconstruction(*nets, run.segments, run.sources.input, own_inputs=name == "chain")
    nets[1].requires_grad_(False)
    for blob in made.parameters:
        blob.requires_grad_(True)
    return made


def _networks(run: Run) -> list[TorchNet]:
    """The original, which is not trained, and the merged network."""
    import torch

    from deepmerge.engines.pytorch import TorchNet

    device = device_of(run)
    nets = [TorchNet(graph).to(device).to(memory_format=torch.channels_last) for graph in (run.original, run.merged)]
    nets[0].requires_grad_(False)
    return nets


def _judging(run: Run, most: int | None = None) -> Iterator[Tensor]:
    """Images held out; so many of them as losses are measured on, if it is not told."""
    most = most or max(LEAST_JUDGED, min(JUDGED, run.sources.held_out // 2))
    return Feed(run.sources.judge, device_of(run)).once(most)


def shown(run: Run, name: str, period: int, first: int = 0, start: int = 0) -> Generator[Tensor, None, None]:
    """Batch `start` of what the stage shows, and those behind it. period: of them, until views come again; first: of the source's."""
    feed = Feed(run.sources.train, device_of(run))
    if name != "distill" or not run.job.vary:
        return feed.batches(first + start)
    return all_varied(feed.batches, run.job.seed, first, period, start)


def repeats(run: Run) -> bool:
    """Whether distill shows the same arrays again, so that the original need not be asked each time."""
    return run.sources.repeats or run.job.vary


def halves(run: Run, name: str) -> bool:
    """Whether the stage computes in bfloat16: scores may bear it, and reconstruction does not."""
    return name == "distill" and run.halves


def bears_halves(run: Run) -> bool:
    """Whether the device is faster at bfloat16, which adds little to what the merged network gets wrong.

    The network would learn to make up for the rounding else. AlexNet's loss behind refit is 0.072 on one batch, in bfloat16 0.120, and
    60 iterations take that on images held out from 0.051 to 0.103, in float32 to 0.053.
    """
    if not has_fast_bf16(device_of(run)):
        return False
    made = Distillation(*_networks(run), (run.original, run.merged), run.sources.input, None)
    losses = [sum(judged(made, _judging(run), in_halves)) for in_halves in (False, True)]
    return losses[1] <= ROUNDING * losses[0]


def planned(run: Run, stages: Sequence[str], seconds: float) -> dict[str, int]:
    """The iterations of each stage that fit into so many seconds. The weights stay as they are."""
    costs = {}
    for name in stages:
        images = shown(run, name, run.sources.train.count)
        try:
            costs[name] = _cost(run, name, images)
        finally:
            images.close()
    return divided(max(seconds - _comparing(run), 1.0), costs)


def _cost(run: Run, name: str, images: Iterator[Tensor]) -> Callable[[float], int]:
    """For schedule.divided."""
    asked = objective(run, name)
    asking = measure(_step(run, name, asked), images, device_of(run))
    if name != "distill" or not repeats(run):
        return steady(asking)
    knowing = _knowing(run, name)
    if run.job.vary:
        return steady(asking / USES + knowing * (1 - 1 / USES))
    loader = run.sources.train
    mirrored = loader.preprocessing.mirror
    room = MOST_KEPT / max(1, asked.answer_bytes * loader.count * (2 if mirrored else 1))
    return sinking(asking, knowing, loader.count / loader.batch_size, mirrored, min(1.0, room))


def _knowing(run: Run, name: str) -> float:
    """Seconds of an iteration on images that the original has been asked about."""
    made = objective(run, name, Answers())
    again = itertools.chain.from_iterable(itertools.islice(shown(run, name, _ASKED), _ASKED) for _ in itertools.count())
    for images in itertools.islice(again, _ASKED):
        made.targets(images)
    return measure(_step(run, name, made), again, device_of(run))


def _step(run: Run, name: str, made: Any) -> Callable[[Tensor], object]:
    """An iteration that changes no weight."""
    trainer = Trainer(made, name, 1, 0.0, [0.0] * len(made.parameters), halves(run, name))
    return lambda batch: trainer.step(batch)


def _comparing(run: Run) -> float:
    """Seconds that comparing with the original behind each stage will take."""
    start = time.monotonic()
    run.judge.agreement(run.merged)
    return (time.monotonic() - start) * (len(run.job.stages) - len(run.entries) + 1)
