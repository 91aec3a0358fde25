"""`deepmerge finetune`: read a converted folder, run its solvers in order, write the folder with the new weights."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from deepmerge.data import source_path
from deepmerge.errors import EngineError
from deepmerge.formats.read.weights import Weights, load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.rewrite import Retrained, rewrite
from deepmerge.out.staging import check_free, check_outside, scratch, staged
from deepmerge.text import listed
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.log import Say, place_of
from deepmerge.train.finetune.loop import Control, Loop
from deepmerge.train.finetune.spec import Job, Stage, plan_stages
from deepmerge.train.shared.checkpoint import Checkpoint, checkpoint_folder, digest_of
from deepmerge.train.shared.device import check_precision
from deepmerge.train.shared.guards import replacing
from deepmerge.train.shared.int8 import renew_int8
from deepmerge.train.shared.processes import Processes, joined

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
    with checkpoint.mentioned(), _engine(job, converted, _seed(job, stages)) as engine:
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


# -- the engine ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """What trains. open: yields a stage that starts from some caffemodels. about: for the report."""

    open: Callable[[Stage, Sequence[Path | Weights]], AbstractContextManager[Learner]]
    about: dict[str, Any]
    processes: Processes = Processes()


@contextlib.contextmanager
def _engine(job: Job, converted: Converted, seed: int) -> Iterator[Engine]:
    about = {"engine": job.engine, "seed": seed}
    if job.engine == "caffe":
        from deepmerge.train.finetune import caffe_run

        with scratch(job.out) as folder:
            setup = caffe_run.Setup(job, seed, folder)
            yield Engine(partial(caffe_run.open_learner, setup=setup), about)
        return
    with joined(job.device) as processes:
        from deepmerge.train.finetune import torch_run

        setup = torch_run.Setup.of(job, seed, processes, converted.original.read() if job.distill else None)
        about |= {"device": str(setup.device), "processes": processes.size}
        yield Engine(partial(torch_run.open_learner, setup=setup), about, processes)


# -- the stages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A stage's result. weights: a caffemodel of all its layers. snapshots: files to keep next to it."""

    stage: Stage
    weights: Path
    snapshots: Sequence[Path] = ()


@dataclass
class Runner:
    """Runs the stages of a job one after the other, continued from a checkpoint if there is one.

    started: when this run began, by the clock. spent: seconds of earlier runs. done: the report's entries of the stages
    that are over, None for a stage that was not trained. notes: warnings, each once.
    """

    job: Job
    stages: list[Stage]
    checkpoint: Checkpoint
    engine: Engine
    say: Say
    clock: Callable[[], float]
    started: float
    spent: float = 0.0
    done: list[dict[str, Any] | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.engine.processes.first
        if not self.first:
            self.say = lambda line: None
        self.pause_at = None if self.job.stop_after is None else self.started + self.job.stop_after * 60

    def run(self) -> tuple[list[Trained], dict[str, Any]]:
        """Return the stages' weights, which are files in the checkpoint's folder, and the report's "finetuning"."""
        saved = self.engine.processes.from_first(self.checkpoint.load() if self.first else None)
        arrays, log = {}, None
        if saved is not None:
            arrays, meta = saved
            self.done, log, self.notes, self.spent = meta["done"], meta["log"], meta["notes"], meta["spent"]
            self.say(f"resuming from the checkpoint in {self.checkpoint.folder}")
        for number in range(len(self.done), len(self.stages)):
            self._stage(number, arrays, log)
            arrays, log = {}, None
        trained = [
            Trained(stage, self._weights(number), sorted(self._snapshots(number).glob("*_iter_*")))
            for number, stage in enumerate(self.stages)
        ]
        runs = [entry for entry in self.done if entry]
        return trained, finetuning_entry(self.job, self.engine.about, runs, self.notes)

    def _stage(self, number: int, arrays: Arrays, log: dict[str, Any] | None) -> None:
        """Run a stage, and write its weights. arrays, log: see Loop."""
        stage = self.stages[number]
        starts = stage.starts_from(self._weights(number - 1) if number else None)
        if stage.solver is None or self._is_too_late():
            graph, entry = _passed_on(stage, starts), None
            if stage.solver:
                self._note([f"--minutes left no time for the step {stage.name}"])
        else:
            graph, entry = self._train(number, starts, arrays, log)
        self.done.append(entry)
        if self.first:
            with replacing(self._weights(number)) as aside:
                write_caffemodel(graph, aside)
            self._save(f"{number + 1} of {len(self.stages)} stages", {}, None)
        self.engine.processes.from_first(None)  # all wait here until the weights are written

    def _train(
        self, number: int, starts: list[Path | Weights], arrays: Arrays, log: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """Train a stage; return its network with the new weights, and its entry in the report."""
        stage, solver = self.stages[number], self.stages[number].solver
        if stage.name:
            self.say(f"step {stage.name}: {solver.max_iter - (log or {}).get('iteration', 0)} iterations")
        if solver.snapshot_format == "HDF5":
            text = "asks for HDF5 snapshots; they are written as .caffemodel, which Caffe reads as well"
            self._note([f"{solver.path} {text}"])
        with self.engine.open(stage, starts) as learner:
            self._note(learner.notes)
            ended = Loop(solver, learner, self._control(number, log), arrays, log).run()
            self._note(ended.notes)
            self._note(_left_out(learner.skipped, learner.count, "images"))
            tests = learner.test_count + len(learner.test_skipped)
            self._note(_left_out(learner.test_skipped, tests, "test images"))
            return learner.trained(), ended.entry(stage.name, solver, learner)

    def _control(self, number: int, saved: dict[str, Any] | None) -> Control:
        def save(arrays: Arrays, log: dict[str, Any]) -> None:
            self._save(place_of(name, log["iteration"]), arrays, log)
            self._snapshots(number).mkdir(exist_ok=True)

        name = self.stages[number].name
        return Control(
            save=save,
            snapshots=self._snapshots(number),
            checkpoint_seconds=self.job.checkpoint_seconds,
            say=self.say,
            end=self._stage_end(number, (saved or {}).get("seconds", 0.0)),
            pause_at=self.pause_at,
            clock=self.clock,
            step=name,
            processes=self.engine.processes,
            trial="base_lr" not in self.job.solver,
        )

    def _save(self, what: str, arrays: Arrays, log: dict[str, Any] | None) -> None:
        """Replace the checkpoint. what: where the run is."""
        spent = self.spent + self.clock() - self.started
        self.checkpoint.save(what, arrays, {"done": self.done, "log": log, "notes": self.notes, "spent": spent})

    def _end(self) -> float | None:
        """Return when the time of all stages is over, by the clock; None for no limit."""
        return None if self.job.minutes is None else self.started + self.job.minutes * 60 - self.spent

    def _stage_end(self, number: int, seconds: float) -> float | None:
        """Return when a stage's time is over: it and those after it get equal parts. seconds: what it has had."""
        end, now = self._end(), self.clock()
        if end is None:
            return None
        waiting = sum(stage.solver is not None for stage in self.stages[number:])
        return now - seconds + (end - now + seconds) / waiting

    def _is_too_late(self) -> bool:
        """Return whether the time is over, and a stage has been trained."""
        late = self.job.minutes is not None and self.clock() >= self._end()
        return any(self.done) and self.engine.processes.from_first(late)

    def _note(self, lines: list[str]) -> None:
        self.notes = list(dict.fromkeys(self.notes + lines))

    def _weights(self, number: int) -> Path:
        """Return the file of a stage's final weights."""
        return self.checkpoint.folder / f"stage-{number + 1:02d}.caffemodel"

    def _snapshots(self, number: int) -> Path:
        return self.checkpoint.folder / f"snapshots-{number + 1:02d}"


def _left_out(skipped: list[str], count: int, what: str) -> list[str]:
    """Return a warning about images that could not be read, if there are any."""
    return [f"{len(skipped)} of {count} {what} could not be read; the first: {skipped[0]}"] if skipped else []


def _passed_on(stage: Stage, starts: list[Path | Weights]) -> Graph:
    """Return an untrained stage's network: the previous stage's weights, and its own new layers."""
    graph = stage.pair.read()
    for file in starts[1:]:
        load_weights(graph, file, misfits="skip")
    return graph


# -- what is written -------------------------------------------------------------------------------


def finetuning_entry(
    job: Job, about: dict[str, Any], runs: list[dict[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    """Return the report's "finetuning". Its accuracy is that of the last test; None without any.

    about: the engine and its seed, and where it ran.
    """
    tests = [test for run in runs for test in run["tests"] if test["all"] or test["iteration"] == run["iterations"]]
    return {
        **about,
        "data": job.data,
        "vary": job.vary,
        "test_data": job.test_data,
        "distill": _distilling(job),
        "iterations": sum(run["iterations"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "loss_before": runs[0]["loss_before"],
        "loss_after": runs[-1]["loss_after"],
        "accuracy": _accuracy(tests[-1]) if tests else None,
        "runs": runs,
        "warnings": warnings,
    }


def _distilling(job: Job) -> dict[str, Any] | None:
    if job.distill is None:
        return None
    return {"kind": job.distill, "weight": job.distill_weight, "temperature": job.temperature}


def _accuracy(test: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in test.items() if key not in ("iteration", "test", "all")}


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
        report = renew_int8(converted, folder, final, report)
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
    return Retrained(graph, stage.pair, stage.new_layers, complete=stage.solver is not None)
