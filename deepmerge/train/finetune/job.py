"""`deepmerge finetune`: read a converted folder, run its solvers in order, write the folder with the new weights."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from deepmerge.formats.read.weights import load_weights
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.rewrite import Retrained, rewrite
from deepmerge.out.staging import check_free, staged
from deepmerge.text import listed
from deepmerge.train.finetune.report import Say
from deepmerge.train.finetune.runner import Runner, Trained
from deepmerge.train.finetune.spec import Job, Stage, plan_stages
from deepmerge.train.shared.checkpoint import Checkpoint, checkpoint_folder, digest_of

_IDENTITY = (
    *("data", "test_data", "solver", "steps", "batch_size", "limit", "shuffle", "vary", "seed", "engine"),
    *("distill", "distill_weight", "temperature"),
)


def finetune(job: Job, say: Say = lambda line: None, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Run the job and return report.json's content, with "finetuning".

    say: called with a line for each display, test and stage. clock: returns seconds.
    A DeepmergeError leaves an existing `job.out` as it was, and keeps the last checkpoint, from which the same job
    continues. Paused where job.stop_after is over.
    """
    check_free(job.out, job.force)
    converted = read_converted(job.folder, job.original, need_steps=job.steps is not None)
    stages = plan_stages(converted, job.steps, job.solver)
    checkpoint = Checkpoint(checkpoint_folder(job.out), _identity(job, converted, stages))
    with checkpoint.mentioned():
        if job.engine == "caffe":
            from deepmerge.train.finetune.caffe_run import CaffeRunner

            return _finish(job, converted, CaffeRunner(job, converted, stages, checkpoint, say, clock=clock))
        from deepmerge.train.finetune.processes import joined

        with joined(job.device) as processes:
            from deepmerge.train.finetune.torch_run import TorchRunner

            runner = TorchRunner(job, converted, stages, checkpoint, say, processes, clock)
            return _finish(job, converted, runner)


def _finish(job: Job, converted: Converted, runner: Runner) -> dict[str, Any]:
    """Run all stages and write OUT2."""
    trained, entry = runner.run()
    if "finetuning" in converted.report:
        entry["previous"] = converted.report["finetuning"]
    report = {**converted.report, "finetuning": entry}
    if runner.processes.first:
        report = write_output(converted, job.out, job.force, trained, report)
        runner.checkpoint.remove()
    return report


def _identity(job: Job, converted: Converted, stages: list[Stage]) -> dict[str, Any]:
    """Return everything that must be the same for a checkpoint to fit the job."""
    files = [stage.pair.caffemodel for stage in stages]
    for solver in (stage.solver for stage in stages if stage.solver is not None):
        files += [solver.path, solver.train.path, *(source.path for source, _ in solver.tests)]
    chosen = {f"--{name.replace('_', '-')}": getattr(job, name) for name in _IDENTITY}
    chosen |= {"command": "finetune", "OUT's files": digest_of(files)}
    return chosen | {"preprocessing": asdict(job.wishes)}


def write_output(
    converted: Converted, out: Path, force: bool, trained: Sequence[Trained], report: dict[str, Any]
) -> dict[str, Any]:
    """Write OUT2 whole or not at all, and return its report. The final network gets the last stage's weights.

    Layers that no stage has trained are added to the report's warnings.
    """
    final = converted.final.read()
    kept = load_weights(final, trained[-1].weights, misfits="skip")
    report = _with_untrained(report, [layer.name for layer in kept])
    steps = (_step(result) for result in trained if result.stage.name)
    with staged(out, force) as folder:
        rewrite(converted, folder, chain([Retrained(final, converted.final)], steps), report)
        for result in trained:
            for snapshot in result.snapshots:
                shutil.copyfile(snapshot, folder / result.stage.folder / snapshot.name)
    return report


def _with_untrained(report: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the report with a warning about the layers that no step has trained, if there are any."""
    if not names:
        return report
    entry = report["finetuning"]
    warnings = [*entry["warnings"], f"no step has trained {listed(names)}, which keep their weights"]
    return {**report, "finetuning": {**entry, "warnings": warnings}}


def _step(result: Trained) -> Retrained:
    stage = result.stage
    graph = stage.pair.read()
    load_weights(graph, result.weights, misfits="skip")
    return Retrained(graph, stage.pair, stage.new_layers)
