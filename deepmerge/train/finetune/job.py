"""`deepmerge finetune`: read a converted folder, run its solvers in order, write the folder with the new weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from deepmerge.data import source_path
from deepmerge.errors import EngineError
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.staging import check_free, check_outside
from deepmerge.train.finetune.engine import open_engine
from deepmerge.train.finetune.log import Say
from deepmerge.train.finetune.run import Runner
from deepmerge.train.finetune.spec import Job, Stage, plan_stages
from deepmerge.train.finetune.write import write_output
from deepmerge.train.shared.checkpoint import Checkpoint, checkpoint_folder, digest_of
from deepmerge.train.shared.device import check_precision

_IDENTITY = (
    *("data", "test_data", "solver", "steps", "batch_size", "limit", "shuffle", "vary", "seed", "engine", "precision"),
    *("distill", "distill_weight", "temperature"),
)


def _check_caffe(job: Job) -> None:
    """Raise EngineError for what real Caffe does not do."""
    if job.engine != "caffe":
        return
    if job.precision == "bf16":
        raise EngineError("real Caffe computes in float32", remedy="leave out the precision, or use the engine torch")
    asked = {
        "distill": bool(job.distill),
        "limit": job.limit is not None,
        "vary": job.vary,
        "strict": job.strict,
        "device": job.device != "cpu",
        "channel_order rgb": job.wishes.channel_order == "rgb",
    }
    if wrong := [name for name, given in asked.items() if given]:
        raise EngineError(f"real Caffe has no {wrong[0]}", remedy="leave it out, or use the engine torch")
    lmdbs = [spec for spec in (job.data, job.test_data) if spec and spec.startswith("lmdb:")]
    if lmdbs and job.wishes.resize is not None:
        text = f"real Caffe does not resize the images of {lmdbs[0]}"
        raise EngineError(text, remedy="leave out the resize, or use the engine torch")


def finetune(job: Job, say: Say = lambda line: None, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Run the job and return report.json's content, with "finetuning".

    say: called with a line for each display, test and stage. clock: returns seconds.
    A DeepmergeError leaves an existing `job.out` as it was, and keeps the last checkpoint, from which the same job
    continues. Paused where job.stop_after is over.
    """
    started = clock()
    check_free(job.out, job.force)
    check_precision(job.precision)
    _check_caffe(job)
    converted = read_converted(job.folder, job.original, job.steps is not None, inputs=job.inputs)
    sources = [source_path(spec) for spec in (job.data, job.test_data) if spec]
    check_outside(job.out, job.folder, [*(converted.original if job.distill else ()), *sources])
    stages = plan_stages(converted, job.steps, job.solver)
    checkpoint = Checkpoint(checkpoint_folder(job.out), _identity(job, converted, stages))
    with checkpoint.mentioned(), open_engine(job, converted, _seed(job, stages)) as engine:
        runner = Runner(job, stages, checkpoint, engine, say, clock, started)
        trained, entry = runner.run()
        if "finetuning" in converted.report:
            entry["previous"] = converted.report["finetuning"]
        report = {**converted.report, "finetuning": entry}
        if engine.processes.first:
            report = write_output(converted, job.out, job.force, trained, report)
            checkpoint.remove()
    return report


def _identity(job: Job, converted: Converted, stages: list[Stage]) -> dict[str, Any]:
    """Return everything that must be the same for a checkpoint to fit the job."""
    files = [file for stage in stages for file in stage.pair.caffemodels]
    for solver in (stage.solver for stage in stages if stage.solver is not None):
        files += [solver.path, solver.train.path, *(source.path for source, _ in solver.tests)]
    chosen = {f"--{name.replace('_', '-')}": getattr(job, name) for name in _IDENTITY}
    chosen |= {"command": "finetune", "OUT's files": digest_of(files)}
    if job.distill:
        chosen["the original"] = digest_of([*converted.original])
    chosen["--input"] = {name: list(size) for name, size in job.inputs.items()}
    return chosen | {"preprocessing": asdict(job.wishes)}


def _seed(job: Job, stages: list[Stage]) -> int:
    """Return --seed, or the first solver's random_seed, or 0."""
    given = next(stage.solver.random_seed for stage in stages if stage.solver is not None)
    return job.seed if job.seed is not None else max(given, 0)
