"""The stages of a job on PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.loop import Keeping, Loop
from deepmerge.train.finetune.progress import Arrays
from deepmerge.train.finetune.run import Feeding, images_of, make_loop
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.story import run_entry
from deepmerge.train.finetune.teacher import Distilling
from deepmerge.train.shared.device import prepare


class TorchRunner(Runner):
    """Runs on --device, each process of several on a GPU of its own."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        job, device = self.job, self.job.device
        if device == "cuda" and self.processes.size > 1:
            device = f"cuda:{self.processes.local_rank}"
        self.device = prepare(device, job.threads, self.seed)
        self.teacher = None
        if job.distill:
            self.teacher = self.converted.original.read(), Distilling(job.distill, job.distill_weight, job.temperature)

    def run(self):
        trained, story = super().run()
        return trained, story | {"device": str(self.device), "processes": self.processes.size}

    def train(
        self, number: int, starts: list[Path], arrays: Arrays, story: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        loop = self._loop(number, starts)
        if story is not None:
            loop.load(arrays, story)
        ended, student = loop.run(), loop.student
        student.store()
        if skipped := loop.loader.skipped:
            self.note([f"{len(skipped)} of {loop.loader.count} images could not be read; the first: {skipped[0]}"])
        entry = run_entry(self.stages[number], ended, student.net.batch_size)
        return student.net.graph, entry | {"images": images_of(loop.loader)}

    def _loop(self, number: int, starts: list[Path]) -> Loop:
        job = self.job

        def save(arrays: Arrays, story: dict[str, Any]) -> None:
            self.save(self.place(number, story["iteration"]), arrays, story)
            self.snapshots(number).mkdir(exist_ok=True)

        loop, notes = make_loop(
            self.stages[number],
            starts,
            Feeding(job.data, job.test_data, job.batch_size, job.wishes, job.shuffle, job.strict, job.limit, job.vary),
            self.seed,
            self.device,
            self.processes,
            Keeping(save, self.snapshots(number), job.checkpoint_seconds),
            self.teacher,
            self.tell,
            self.time_left(),
            self.pause,
        )
        self.note(notes)
        return loop
