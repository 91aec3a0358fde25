"""The stages of a job one after the other, from a checkpoint where there is one, whatever trains them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted
from deepmerge.train.finetune.output import Trained
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.progress import Arrays, Tell
from deepmerge.train.finetune.stages import Stage, override_weights
from deepmerge.train.finetune.story import whole_story
from deepmerge.train.shared.checkpoint import Checkpoint
from deepmerge.train.shared.guards import replacing

if TYPE_CHECKING:
    from deepmerge.train.finetune.job import Job


class Runner(ABC):
    """done: the entries of the stages that are over, as the report has them; None for one that was only carried along.
    pause: when to stop with a checkpoint, by time.monotonic().
    """

    def __init__(
        self, job: Job, converted: Converted, stages: list[Stage], checkpoint: Checkpoint, tell: Tell,
        processes: Processes | None = None,
    ):  # fmt: skip
        self.job, self.converted, self.stages, self.checkpoint = job, converted, stages, checkpoint
        self.processes = processes or Processes()
        self.tell = tell if self.processes.first else lambda line: None
        self.seed = _seed(job, stages)
        self.pause = None if job.stop_after is None else time.monotonic() + job.stop_after * 60
        self.done: list[dict[str, Any] | None] = []
        self.notes: list[str] = []

    @abstractmethod
    def train(
        self, number: int, starts: list[Path], arrays: Arrays, story: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """Train stage `number`; returns its network with its weights, and its entry in the report.

        starts: see Stage.starts_from. arrays, story: what `save` was given last, {} and None at the start.
        """

    def run(self) -> tuple[list[Trained], dict[str, Any]]:
        """Where each stage's weights lie, and what the report says. They lie in the checkpoint's folder."""
        saved = self.processes.told(self.checkpoint.load() if self.processes.first else None)
        arrays, story = {}, None
        if saved is not None:
            arrays, meta = saved
            self.done, story, self.notes = meta["done"], meta["story"], meta["notes"]
            self.tell(f"going on from the checkpoint in {self.checkpoint.folder}")
        for number in range(len(self.done), len(self.stages)):
            graph, entry = self._stage(number, arrays, story)
            self.done.append(entry)
            if self.processes.first:
                self._finish(number, graph)
            self.processes.told(None)  # nobody goes on before the weights are written
            arrays, story = {}, None
        trained = [
            Trained(stage, self.weights(number), sorted(self.snapshots(number).glob("*_iter_*")))
            for number, stage in enumerate(self.stages)
        ]
        return trained, whole_story(self.job, [entry for entry in self.done if entry], self.notes, self.seed)

    def _stage(self, number: int, arrays: Arrays, story: dict[str, Any] | None) -> tuple[Graph, dict[str, Any] | None]:
        stage = self.stages[number]
        starts = stage.starts_from(self.weights(number - 1) if number else None)
        if stage.solver is not None:
            if stage.name:
                self.tell(f"step {stage.name}: {stage.solver.max_iter - (story or {}).get('iteration', 0)} iterations")
            if stage.solver.snapshot_format == "HDF5":
                self.note(
                    [
                        f"{stage.solver.path} asks for HDF5 snapshots; they are written as .caffemodel, which Caffe reads as well"
                    ]
                )
            return self.train(number, starts, arrays, story)
        graph = stage.pair.read()  # it hands on the weights of the one before it, with its own new layers
        for file in starts[1:]:
            override_weights(graph, file)
        return graph, None

    def _finish(self, number: int, graph: Graph) -> None:
        with replacing(self.weights(number)) as aside:
            write_caffemodel(graph, aside)
        self.save(f"{number + 1} of {len(self.stages)} stages", {}, None)

    def save(self, what: str, arrays: Arrays, story: dict[str, Any] | None) -> None:
        """Put a checkpoint in the place of the last one."""
        self.checkpoint.save(what, arrays, {"done": self.done, "story": story, "notes": self.notes})

    def place(self, number: int, iteration: int) -> str:
        """Where the run is, as errors say it."""
        name = self.stages[number].name
        return f"step {name!r}, iteration {iteration}" if name else f"iteration {iteration}"

    def time_left(self) -> float | None:
        """Seconds that the stages may still take; None for no limit."""
        if self.job.minutes is None:
            return None
        return max(self.job.minutes * 60 - sum(entry["seconds"] for entry in self.done if entry), 0.0)

    def note(self, lines: list[str]) -> None:
        self.notes = list(dict.fromkeys(self.notes + lines))

    def weights(self, number: int) -> Path:
        """What a stage ended with."""
        return self.checkpoint.folder / f"stage-{number + 1:02d}.caffemodel"

    def snapshots(self, number: int) -> Path:
        return self.checkpoint.folder / f"snapshots-{number + 1:02d}"


def _seed(job: Job, stages: list[Stage]) -> int:
    """--seed, or the first solver's random_seed, or 0."""
    given = next(stage.solver.random_seed for stage in stages if stage.solver is not None)
    return job.seed if job.seed is not None else max(given, 0)
