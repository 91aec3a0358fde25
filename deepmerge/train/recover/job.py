"""Recovery, the story: OUT and images in, OUT2 out. lsq, refit, segments, chain, distill, each where the last one stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deepmerge.data import ImageWishes
from deepmerge.errors import ReadError
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.staging import check_free, staged
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select
from deepmerge.progress import Progress, silent
from deepmerge.train.recover.budget import TRAINED, USUAL, default_batch_size
from deepmerge.train.recover.images import Sources, open_sources
from deepmerge.train.recover.optimizer import OPTIMIZER
from deepmerge.train.recover.refit import find_behind
from deepmerge.train.recover.run import Run
from deepmerge.train.recover.segments import Segment, find_segments
from deepmerge.train.recover.write import write_recovered
from deepmerge.train.shared.checkpoint import Checkpoint, checkpoint_folder
from deepmerge.train.shared.device import prepare


@dataclass(frozen=True)
class Job:
    """One recovery, as the command line asks for it.

    folder: OUT. data: the images' SPEC. out: OUT2. original: the files of the network that was converted, None for those
    that the report names. steps: --steps. limit: --images. minutes: for all stages, None for the iterations of `counts`
    or the defaults. batch_size: None for what suits network and device. lr: the learning rate, see schedule.py, None for
    what does best. precision: of the distillation, fp32, bf16, or auto: bf16 where the device is faster at it. vary: whether distill
    shows shifted and mixed images, see views.py. stop_after: minutes of this piece of the run.
    """

    folder: Path
    data: str
    out: Path
    original: tuple[Path, Path] | None = None
    wishes: ImageWishes = field(default_factory=ImageWishes)
    stages: tuple[str, ...] = USUAL
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


def recover(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Carry the job out and return the new report.

    progress: called with what is going on, how much is done, how much there is. DeepmergeErrors leave no OUT2, and an
    existing one as it was; a checkpoint stays. Paused (train.py) where job.stop_after is over.
    """
    check_free(job.out, job.force)
    converted = read_converted(job.folder, job.original)
    original, merged = converted.original.read(), converted.final.read()
    segments = _chosen(converted, original, merged, job.steps)
    if not segments:
        return _copied(converted, job)
    if job.batch_size is None:
        job = replace(job, batch_size=default_batch_size(summary(original)["macs"], job.device))
    if set(job.stages) & set(TRAINED):
        prepare(job.device, job.threads, job.seed)  # says what is missing, before anything is done
    sources = open_sources(
        job.data, merged, converted.final.prototxt, job.batch_size, job.wishes, job.limit, job.seed, job.strict
    )
    checkpoint = Checkpoint(checkpoint_folder(job.out), _key(job, converted, sources))
    behind = find_behind(original, merged, converted.entries, segments) if "refit" in job.stages else []
    run = Run(job, original, merged, segments, behind, sources, checkpoint, progress)
    run.all_stages()
    report = {**converted.report, "recovery": run.recovery(converted.report.get("recovery"))}
    progress("writing", 1, 1)
    with staged(job.out, job.force) as stage:
        write_recovered(converted, stage, merged, run.reached, segments, report)
    checkpoint.remove()
    return report


def _chosen(converted: Converted, original: Graph, merged: Graph, steps: str) -> list[Segment]:
    """The segments of the steps that --steps names. PlanError for a name that is no approximate step."""
    rough = converted.approximate
    if not rough:
        return []
    _same_names(converted, original, merged)
    found = find_segments(original, merged, converted.entries)
    candidates = [Candidate(Step(entry["name"], tuple(entry["passes"]), (entry["name"],))) for entry in rough]
    wanted = {name for step in select(candidates, steps) for name in step.layers}
    return [segment for segment in found if set(segment.steps) & wanted]


def _same_names(converted: Converted, original: Graph, merged: Graph) -> None:
    """ReadError where blobs were renamed, as the style distinct-tops does, and no longer say what they are."""
    layers = {layer.name: layer for layer in original.layers}
    alike = [layer for layer in merged.layers if layer.name in layers and layer.tops and layers[layer.name].tops]
    renamed = [
        layer for layer in alike if layer.type == "ReLU" and layer.top.name == layer.name != layers[layer.name].top.name
    ]
    if renamed:
        text = "was converted with --style distinct-tops, which renames what a recovery compares; convert without it"
        raise ReadError(f"{text}, recover, and then convert the style alone", converted.folder)


def _copied(converted: Converted, job: Job) -> dict[str, Any]:
    """Only exact steps: OUT2 is a copy of OUT."""
    report = {**converted.report, "recovery": {"stages": [], "note": "nothing to recover: every step is exact"}}
    with staged(job.out, job.force) as stage:
        write_recovered(converted, stage, converted.final.read(), {}, [], report)
    return report


def _key(job: Job, converted: Converted, sources: Sources) -> dict[str, Any]:
    """What must be equal for a checkpoint to be of use, as the user knows it."""
    sums = {kind: _sha256([file]) for kind, file in zip(("prototxt", "caffemodel"), converted.original, strict=True)}
    return {
        "OUT": _sha256([converted.folder / "report.json", *converted.final]),
        "the original's prototxt": sums["prototxt"],
        "the original's caffemodel": sums["caffemodel"],
        "--data": job.data,
        "the number of images": sources.train.count + sources.held_out,
        "preprocessing": json.dumps(asdict(job.wishes), sort_keys=True),
        "--stages": ",".join(job.stages),
        "--steps": job.steps,
        "--images": job.limit,
        "--minutes": job.minutes,
        "--iterations": json.dumps(job.counts, sort_keys=True),
        "--seed": job.seed,
        "--batch-size": job.batch_size,
        "--vary": job.vary,
        "the optimizer": OPTIMIZER,
    }


def _sha256(files: Sequence[Path]) -> str:
    made = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            made.update(
                hashlib.file_digest(opened, "sha256").digest() if hasattr(hashlib, "file_digest") else opened.read()
            )
    return made.hexdigest()
