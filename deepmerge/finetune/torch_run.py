"""All stages of a job on PyTorch, from a checkpoint where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.converted import Converted
from deepmerge.emit import write_caffemodel
from deepmerge.finetune.loop import Arrays, Keeping, Loop, Tell
from deepmerge.finetune.output import Trained
from deepmerge.finetune.processes import Processes
from deepmerge.finetune.run import Feeding, images_of, make_loop
from deepmerge.finetune.stages import Stage, override_weights
from deepmerge.finetune.story import run_entry, whole_story
from deepmerge.finetune.teacher import Distilling
from deepmerge.training.checkpoint import Checkpoint
from deepmerge.training.device import prepare
from deepmerge.training.guards import writing

if TYPE_CHECKING:
    from deepmerge.finetune.job import Job


class _Stages:
    """The stages' common state. done: the entries of the stages that are over, as the report has them."""

    def __init__(self, job: Job, converted: Converted, stages: list[Stage], checkpoint: Checkpoint, processes: Processes, tell: Tell):
        self.job, self.converted, self.stages, self.checkpoint, self.processes = job, converted, stages, checkpoint, processes
        self.tell = tell if processes.first else lambda line: None
        device = f"cuda:{processes.local_rank}" if job.device == "cuda" and processes.size > 1 else job.device
        self.seed = _seed(job, stages)
        self.device = prepare(device, job.threads, self.seed)
        self.teacher = None
        if job.distill:
            self.teacher = converted.original.read(), Distilling(job.distill, job.distill_weight, job.temperature)
        self.done: list[dict[str, Any] | None] = []
        self.notes: list[str] = []

    def run(self) -> None:
        saved = self.processes.told(self.checkpoint.load() if self.processes.first else None)
        arrays, story = {}, None
        if saved is not None:
            arrays, meta = saved
            self.done, story, self.notes = meta["done"], meta["story"], meta["notes"]
            self.tell(f"going on from the checkpoint in {self.checkpoint.folder}")
        for number in range(len(self.done), len(self.stages)):
            self._stage(number, arrays, story)
            self.processes.told(None)  # nobody goes on before the weights are written
            arrays, story = {}, None

    def _stage(self, number: int, arrays: Arrays, story: dict[str, Any] | None) -> None:
        stage = self.stages[number]
        starts = stage.starts_from(self.weights(number - 1) if number else None)
        if stage.solver is None:
            self._carry(number, starts)
            return
        loop = self._loop(number, starts)
        if story is not None:
            loop.load(arrays, story)
        if stage.name:
            self.tell(f"step {stage.name}: {stage.solver.max_iter - loop.story.iteration} iterations")
        ended = loop.run()
        entry = run_entry(stage, ended, loop.student.net.batch_size) | {"images": images_of(loop.loader)}
        if self.processes.first:
            loop.student.store()
            self._finish(number, loop.student.net.graph, entry)
        else:
            self.done.append(entry)

    def _loop(self, number: int, starts: list[Path]) -> Loop:
        job, stage = self.job, self.stages[number]
        feeding = Feeding(job.data, job.test_data, job.batch_size, job.wishes, job.shuffle, job.strict, job.limit)
        place = f"step {stage.name!r}, iteration" if stage.name else "iteration"

        def save(arrays: Arrays, story: dict[str, Any]) -> None:
            self._save(f"{place} {story['iteration']}", arrays, story)
            self.snapshots(number).mkdir(exist_ok=True)

        keeping = Keeping(save, self.snapshots(number), job.checkpoint_seconds)
        spent = sum(entry["seconds"] for entry in self.done if entry)
        limit = None if job.minutes is None else max(job.minutes * 60 - spent, 0.0)
        loop, notes = make_loop(
            stage, starts, feeding, self.seed, self.device, self.processes, keeping, self.teacher, self.tell, limit
        )
        self.notes = list(dict.fromkeys(self.notes + notes))
        return loop

    def _carry(self, number: int, starts: list[Path]) -> None:
        """A step that is not to be fine-tuned hands on the weights of the one before it, with its own new layers."""
        graph = self.stages[number].pair.read()
        for file in starts[1:]:
            override_weights(graph, file)
        if self.processes.first:
            self._finish(number, graph, None)
        else:
            self.done.append(None)

    def _finish(self, number: int, graph, entry: dict[str, Any] | None) -> None:
        path = self.weights(number)
        aside = path.with_suffix(".partial")
        with writing(path, lambda: _dropped(aside)):
            write_caffemodel(graph, aside)
            aside.replace(path)
        self.done.append(entry)
        self._save(f"{number + 1} of {len(self.stages)} stages", {}, None)

    def _save(self, what: str, arrays: Arrays, story: dict[str, Any] | None) -> None:
        self.checkpoint.save(what, arrays, {"done": self.done, "story": story, "notes": self.notes})

    def weights(self, number: int) -> Path:
        """What a stage ended with."""
        return self.checkpoint.folder / f"stage-{number + 1:02d}.caffemodel"

    def snapshots(self, number: int) -> Path:
        return self.checkpoint.folder / f"snapshots-{number + 1:02d}"


def run_stages(
    job: Job, converted: Converted, stages: list[Stage], checkpoint: Checkpoint, processes: Processes, tell: Tell
) -> tuple[list[Trained], dict[str, Any]]:
    """Train; returns where each stage's weights lie, and what the report says. See job.finetune."""
    made = _Stages(job, converted, stages, checkpoint, processes, tell)
    made.run()
    trained = [
        Trained(stage, made.weights(number), sorted(made.snapshots(number).glob("*_iter_*")))
        for number, stage in enumerate(stages)
    ]
    story = whole_story(job, [entry for entry in made.done if entry], made.notes, made.seed)
    return trained, story | {"device": str(made.device), "processes": processes.size}


def _seed(job: Job, stages: list[Stage]) -> int:
    """--seed, or the first solver's random_seed, or 0."""
    given = next(stage.solver.random_seed for stage in stages if stage.solver is not None)
    return job.seed if job.seed is not None else max(given, 0)


def _dropped(aside: Path) -> str:
    aside.unlink(missing_ok=True)
    return ""
