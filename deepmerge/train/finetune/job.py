"""The story of `deepmerge finetune`: a converted folder in, its solvers run in order, the same folder out, fine-tuned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.data import ImageWishes
from deepmerge.errors import DeepmergeError
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.staging import check_free
from deepmerge.train.finetune.output import write_output
from deepmerge.train.finetune.stages import Stage, plan_stages
from deepmerge.train.shared.checkpoint import Checkpoint

if TYPE_CHECKING:
    from deepmerge.train.finetune.runner import Runner


@dataclass(frozen=True)
class Job:
    """One fine-tuning, as the command line asks for it.

    out: what `convert` or `recover` wrote. to: the folder to write. data, test_data: sources of images, see data.sources.
    solver: fields of every solver by name, as text. steps: see stages.plan_stages. minutes: of all stages together.
    stop_after: minutes of this piece of the run. limit: at most so many training images. shuffle: else in their order.
    vary: show the images shifted, see training.shifts.
    distill: kl or mse, None without a teacher. original: its pair, if not the one that report.json names.
    """

    out: Path
    to: Path
    data: str
    test_data: str | None = None
    solver: dict[str, str] = field(default_factory=dict)
    steps: str | None = None
    minutes: float | None = None
    stop_after: float | None = None
    batch_size: int | None = None
    limit: int | None = None
    shuffle: bool = True
    vary: bool = False
    seed: int | None = None
    engine: str = "torch"
    device: str = "cpu"
    threads: int | None = None
    distill: str | None = None
    distill_weight: float = 1.0
    temperature: float = 2.0
    original: tuple[Path, Path] | None = None
    wishes: ImageWishes = field(default_factory=ImageWishes)
    strict: bool = False
    force: bool = False
    checkpoint_seconds: float = 60.0


def finetune(job: Job, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Carry the job out and return the report (report.json's content, with "finetuning").

    tell: called with a line for each display, test and stage. A DeepmergeError leaves an existing `to` as it was, and the
    last checkpoint, from which the same job goes on. Paused (loop.py) where job.stop_after is over.
    """
    check_free(job.to, job.force)
    converted = read_converted(job.out, job.original, need_steps=job.steps is not None)
    stages = plan_stages(converted, job.steps, job.solver)
    checkpoint = Checkpoint(checkpoint_folder(job.to), _identity(job, converted, stages))
    try:
        if job.engine == "caffe":
            from deepmerge.train.finetune.caffe_run import CaffeRunner

            return _finish(job, converted, CaffeRunner(job, converted, stages, checkpoint, tell))
        from deepmerge.train.finetune.processes import joined

        with joined(job.device) as processes:
            from deepmerge.train.finetune.torch_run import TorchRunner

            return _finish(job, converted, TorchRunner(job, converted, stages, checkpoint, tell, processes))
    except DeepmergeError as error:
        if checkpoint.kept and checkpoint.folder.exists() and checkpoint.kept not in str(error):
            raise type(error)(f"{error}{checkpoint.kept}") from error
        raise


def checkpoint_folder(out: Path) -> Path:
    """Where a run that is to write `out` keeps its checkpoint; gone when it is done."""
    return out.with_name(f"{out.name}.checkpoint")


def _finish(job: Job, converted: Converted, runner: Runner) -> dict[str, Any]:
    """Run all stages and write the result."""
    trained, story = runner.run()
    report = dict(converted.report)
    if "finetuning" in report:
        story["previous"] = report["finetuning"]
    report["finetuning"] = story
    if runner.processes.first:
        write_output(converted, job.to, job.force, trained, report)
        runner.checkpoint.remove()
    return report


def _identity(job: Job, converted: Converted, stages: list[Stage]) -> dict[str, Any]:
    """What must be equal for a checkpoint to be of use."""
    digest = hashlib.sha256()
    for file in (stage.pair.caffemodel for stage in stages):
        digest.update(file.read_bytes())
    for stage in stages:
        if stage.solver is not None:
            digest.update(stage.solver.path.read_bytes())
            for source in (stage.solver.train, *(source for source, _ in stage.solver.tests)):
                digest.update(source.path.read_bytes())
    named = ("data", "test_data", "solver", "steps", "batch_size", "limit", "shuffle", "vary", "seed", "engine")
    named += ("distill", "distill_weight", "temperature")
    chosen = {f"--{name.replace('_', '-')}": getattr(job, name) for name in named}
    chosen |= {"command": "finetune", "OUT's files": digest.hexdigest()}
    return chosen | {"preprocessing": asdict(job.wishes)}
