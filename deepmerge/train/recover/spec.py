"""What a recovery is asked to do, and what its stages work on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.data import ImageWishes
from deepmerge.data.loader import CACHE_BYTES
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores
from deepmerge.progress import Progress, silent
from deepmerge.train.recover.images import Sources
from deepmerge.train.recover.segments import Segment
from deepmerge.train.shared.device import BF16_LOSS

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """One recovery, with the options of the command line.

    folder: OUT. data: the images' SPEC. out: OUT2. original: the original's files, None for those that report.json
    names. stages: None for those that suit the networks. steps: --steps. limit: number of images to use. minutes:
    time for all stages, None for the iterations in `counts` or the defaults. batch_size: None for one that suits
    network and device. lr: the learning rate as a share of the weights' size, None to try several. precision: of
    stages that train: fp32, bf16 or auto. vary: whether they augment their images. stop_after: minutes until this
    run pauses with a checkpoint. cache_bytes: limit for decoded images kept in memory. inputs: sizes of the
    networks' inputs.
    """

    folder: Path
    data: str
    out: Path
    original: tuple[Path, Path] | None = None
    wishes: ImageWishes = field(default_factory=ImageWishes)
    stages: tuple[str, ...] | None = None
    steps: str = "all"
    limit: int | None = None
    minutes: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    device: str = "cpu"
    threads: int | None = None
    seed: int = 0
    batch_size: int | None = None
    lr: float | None = None
    precision: str = "auto"
    vary: bool = True
    stop_after: float | None = None
    strict: bool = False
    force: bool = False
    checkpoint_seconds: float = 30.0
    cache_bytes: int = CACHE_BYTES
    inputs: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How a recovery measures time and decides on precision; tests choose other values.

    clock: returns seconds. saving_factor: checkpoints are at least this many times as far apart as one takes to write.
    measured_seconds: how long an iteration's time is measured, to plan for --minutes. bf16_loss: see BF16_LOSS.
    """

    clock: Callable[[], float] = time.monotonic
    saving_factor: float = 50.0
    measured_seconds: float = 2.0
    bf16_loss: float = BF16_LOSS


DEFAULTS = Settings()


@dataclass(frozen=True)
class StagePlan:
    """A stage that trains.

    iterations: how many it takes, or, if `timed`, about how many fit into its time. first_batch: the number of the
    first batch that it takes. bf16: compute in bfloat16.
    """

    name: str
    iterations: int
    first_batch: int = 0
    bf16: bool = False
    timed: bool = False


@dataclass(frozen=True)
class Context:
    """What all stages work on. Only the weights of `merged` change.

    later: the layers that the stage refit solves, each as a segment. cut, feature: see cut.py.
    """

    job: Job
    original: Graph
    merged: Graph
    segments: Sequence[Segment]
    sources: Sources
    later: Sequence[Segment] = ()
    cut: str | None = None
    feature: str | None = None
    settings: Settings = DEFAULTS
    progress: Progress = silent

    @property
    def device(self) -> torch.device:
        """The device that the networks are trained on."""
        import torch

        return torch.device(self.job.device)

    @property
    def threads(self) -> int:
        """CPU threads."""
        return self.job.threads or cores()
