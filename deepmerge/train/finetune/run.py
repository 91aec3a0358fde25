"""A run: the stages one after the other, and its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.formats.read.weights import Weights, load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.engine import Engine
from deepmerge.train.finetune.learner import Arrays
from deepmerge.train.finetune.log import Say, place_of
from deepmerge.train.finetune.loop import Control, Loop
from deepmerge.train.finetune.report import finetuning_entry
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.shared.checkpoint import Checkpoint
from deepmerge.train.shared.guards import replacing


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
