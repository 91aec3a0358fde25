"""The stages of a job one after the other, continued from a checkpoint if there is one, on either engine."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmerge.formats.read.weights import load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.report import Arrays, Say, finetuning_entry
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.shared.checkpoint import Checkpoint
from deepmerge.train.shared.guards import replacing


@dataclass(frozen=True)
class Trained:
    """A stage's result. weights: a caffemodel of all its layers. snapshots: files to keep next to it."""

    stage: Stage
    weights: Path
    snapshots: Sequence[Path] = ()


class Runner(ABC):
    """Runs the stages of a job; `train` is the engine's.

    done: the report's entries of the stages that are over, None for a stage that was not trained.
    """

    def __init__(
        self,
        job: Job,
        converted: Converted,
        stages: list[Stage],
        checkpoint: Checkpoint,
        say: Say,
        processes: Processes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.job, self.converted, self.stages, self.checkpoint = job, converted, stages, checkpoint
        self.processes = processes or Processes()
        self.say = say if self.processes.first else lambda line: None
        self.seed = _seed(job, stages)
        self.clock = clock
        self.pause_at = None if job.stop_after is None else clock() + job.stop_after * 60
        self.done: list[dict[str, Any] | None] = []
        self.notes: list[str] = []

    @abstractmethod
    def train(
        self, number: int, starts: list[Path], arrays: Arrays, log: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """Train stage `number`; return its network with the new weights, and its entry in the report.

        starts: see Stage.starts_from. arrays, log: the last arguments of `save`; {} and None at a stage's start.
        """

    def run(self) -> tuple[list[Trained], dict[str, Any]]:
        """Return the stages' weights, which are files in the checkpoint's folder, and the report's "finetuning"."""
        saved = self.processes.from_first(self.checkpoint.load() if self.processes.first else None)
        arrays, log = {}, None
        if saved is not None:
            arrays, meta = saved
            self.done, log, self.notes = meta["done"], meta["log"], meta["notes"]
            self.say(f"resuming from the checkpoint in {self.checkpoint.folder}")
        for number in range(len(self.done), len(self.stages)):
            graph, entry = self._stage(number, arrays, log)
            self.done.append(entry)
            if self.processes.first:
                self._finish(number, graph)
            self.processes.from_first(None)  # all wait here until the weights are written
            arrays, log = {}, None
        trained = [
            Trained(stage, self.weights(number), sorted(self.snapshots(number).glob("*_iter_*")))
            for number, stage in enumerate(self.stages)
        ]
        return trained, finetuning_entry(self.job, [entry for entry in self.done if entry], self.notes, self.seed)

    def _stage(self, number: int, arrays: Arrays, log: dict[str, Any] | None) -> tuple[Graph, dict[str, Any] | None]:
        stage = self.stages[number]
        starts = stage.starts_from(self.weights(number - 1) if number else None)
        if stage.solver is None:  # it passes on the previous stage's weights, with its own new layers
            graph = stage.pair.read()
            for file in starts[1:]:
                load_weights(graph, file, misfits="skip")
            return graph, None
        if stage.name:
            self.say(f"step {stage.name}: {stage.solver.max_iter - (log or {}).get('iteration', 0)} iterations")
        if stage.solver.snapshot_format == "HDF5":
            text = "asks for HDF5 snapshots; they are written as .caffemodel, which Caffe reads as well"
            self.note([f"{stage.solver.path} {text}"])
        return self.train(number, starts, arrays, log)

    def _finish(self, number: int, graph: Graph) -> None:
        with replacing(self.weights(number)) as aside:
            write_caffemodel(graph, aside)
        self.save(f"{number + 1} of {len(self.stages)} stages", {}, None)

    def save(self, what: str, arrays: Arrays, log: dict[str, Any] | None) -> None:
        """Replace the checkpoint. what: where the run is."""
        self.checkpoint.save(what, arrays, {"done": self.done, "log": log, "notes": self.notes})

    def place(self, number: int, iteration: int) -> str:
        """Return where the run is, for errors."""
        name = self.stages[number].name
        return f"step {name!r}, iteration {iteration}" if name else f"iteration {iteration}"

    def time_left(self) -> float | None:
        """Return how many seconds the remaining stages may take; None for no limit."""
        if self.job.minutes is None:
            return None
        return max(self.job.minutes * 60 - sum(entry["seconds"] for entry in self.done if entry), 0.0)

    def note(self, lines: list[str]) -> None:
        """Add warnings to the report, each once."""
        self.notes = list(dict.fromkeys(self.notes + lines))

    def weights(self, number: int) -> Path:
        """Return the file of a stage's final weights."""
        return self.checkpoint.folder / f"stage-{number + 1:02d}.caffemodel"

    def snapshots(self, number: int) -> Path:
        """Return the folder of a stage's snapshots."""
        return self.checkpoint.folder / f"snapshots-{number + 1:02d}"


def _seed(job: Job, stages: list[Stage]) -> int:
    """Return --seed, or the first solver's random_seed, or 0."""
    given = next(stage.solver.random_seed for stage in stages if stage.solver is not None)
    return job.seed if job.seed is not None else max(given, 0)
