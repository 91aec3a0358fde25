"""`deepmerge recover`: read OUT and images, run the stages, write OUT2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from deepmerge.data import Loading, source_path
from deepmerge.errors import PlanError, ReadError
from deepmerge.formats import DISTINCT_TOPS
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.staging import check_free, check_outside, staged
from deepmerge.plan.recipe import Step
from deepmerge.plan.select import Candidate, select
from deepmerge.progress import Progress, silent
from deepmerge.train.recover import TRAINED
from deepmerge.train.recover.budget import default_batch_size, usual_stages
from deepmerge.train.recover.cut import find_cut, find_feature, stages_at
from deepmerge.train.recover.images import Sources, open_sources
from deepmerge.train.recover.optimizer import OPTIMIZER
from deepmerge.train.recover.run import Run, lsq_does_harm
from deepmerge.train.recover.segments import Segment, find_anchors, find_later_layers, find_segments
from deepmerge.train.recover.spec import DEFAULTS, Context, Job, Settings
from deepmerge.train.recover.write import write_recovered
from deepmerge.train.shared.checkpoint import Checkpoint, checkpoint_folder, digest_of
from deepmerge.train.shared.device import check_precision, prepare


def recover(job: Job, progress: Progress = silent, settings: Settings = DEFAULTS) -> dict[str, Any]:
    """Run the job and return the new report.

    progress: called with the current activity, how much of it is done, and how much there is.
    A DeepmergeError leaves no OUT2, or an existing one as it was, and keeps the checkpoint. Paused where job.stop_after
    is over.
    """
    started = settings.clock()
    check_free(job.out, job.force)
    check_precision(job.precision)
    converted = read_converted(job.folder, job.original, inputs=job.inputs)
    check_outside(job.out, job.folder, [*converted.original, source_path(job.data)])
    original, merged = converted.original.read(), converted.final.read()
    segments = _chosen(converted, original, merged, job.steps)
    if not segments:
        return _copied(converted, job)
    anchors = find_anchors(original, merged, converted.entries)
    macs, cut = summary(original)["macs"], find_cut(merged, anchors)
    solved = _are_solved(segments, converted.report)
    job = replace(
        job,
        stages=job.stages or usual_stages(macs, job.device, stages_at(cut, merged, segments), solved),
        batch_size=job.batch_size or default_batch_size(macs, job.device),
    )
    if set(job.stages) & set(TRAINED):
        prepare(job.device, job.threads, job.seed)  # raises now if something is missing
    loading = Loading(seed=job.seed, limit=job.limit, strict=job.strict, cache_bytes=job.cache_bytes)
    sources = open_sources(job.data, merged, converted.final.prototxt, job.batch_size, job.wishes, loading)
    later = find_later_layers(original, merged, converted.entries, segments) if "refit" in job.stages else []
    feature = find_feature(merged, anchors)
    context = Context(job, original, merged, segments, sources, later, cut, feature, settings, progress)
    checkpoint = Checkpoint(checkpoint_folder(job.out), _identity(job, converted, sources))
    with checkpoint.mentioned():
        run = Run(context, checkpoint, started)
        run.all_stages()
        report = {**converted.report, "recovery": run.recovery(converted.report.get("recovery"))}
        progress("writing", 1, 1)
        with staged(job.out, job.force) as stage:
            report = write_recovered(converted, stage, merged, run.state.reached, segments, report)
    checkpoint.remove()
    return report


def _chosen(converted: Converted, original: Graph, merged: Graph, steps: str) -> list[Segment]:
    """Return the segments of the steps that --steps names. PlanError for a name that is not an approximate step."""
    rough = converted.approximate
    if not rough:
        return []
    _require_names_kept(converted)
    segments = find_segments(original, merged, converted.entries)
    candidates = [Candidate(Step(entry["name"], tuple(entry["passes"]), (entry["name"],))) for entry in rough]
    chosen = {name for step in select(candidates, steps) for name in step.layers}
    if not chosen:
        raise PlanError(f"--steps {steps!r} names no step", remedy="leave it out to recover all of them")
    return [segment for segment in segments if set(segment.steps) & chosen]


def _require_names_kept(converted: Converted) -> None:
    """Raise a ReadError if the style distinct-tops has renamed blobs: segments are found by their names."""
    style = converted.report.get("style")
    if isinstance(style, list) and DISTINCT_TOPS in style:
        text = "was converted with --style distinct-tops, or a --target like it: this renames blobs"
        remedy = "convert without it, recover, and then convert the style alone"
        raise ReadError(text, converted.folder, remedy=remedy)


def _are_solved(segments: Sequence[Segment], report: Mapping[str, Any]) -> bool:
    """Return whether earlier recoveries have solved all of these segments, or solving them did harm.

    False where the report makes no sense.
    """
    solved: set[str] = set()
    recovery = report.get("recovery")
    try:
        while recovery:
            tried = [stage for stage in recovery["stages"] if stage["name"] == "lsq"]
            if any(map(lsq_does_harm, tried)):
                return True
            solved |= {part["name"] for stage in tried if not stage.get("undone") for part in stage["segments"]}
            recovery = recovery.get("previous")
    except (KeyError, TypeError, AttributeError):
        return False
    return {segment.name for segment in segments} <= solved


def _copied(converted: Converted, job: Job) -> dict[str, Any]:
    """Write a copy of OUT, in which every step is exact."""
    report = {**converted.report, "recovery": {"stages": [], "note": "nothing to recover: every step is exact"}}
    with staged(job.out, job.force) as stage:
        return write_recovered(converted, stage, converted.final.read(), {}, [], report)


def _identity(job: Job, converted: Converted, sources: Sources) -> dict[str, Any]:
    """Return everything that must be the same for a checkpoint to fit the job, by the name that the user knows."""
    prototxt, caffemodel = converted.original
    return {
        "OUT": digest_of([converted.folder / "report.json", *converted.final]),
        "the original's prototxt": digest_of([prototxt]),
        "the original's caffemodel": digest_of([caffemodel]),
        "--data": job.data,
        "the number of images": sources.train.count + sources.held_out,
        "preprocessing": json.dumps(asdict(job.wishes), sort_keys=True),
        "--stages": ",".join(job.stages),
        "--steps": job.steps,
        "--images": job.limit,
        "--input": {name: list(size) for name, size in job.inputs.items()},
        "--minutes": job.minutes,
        "--iterations": json.dumps(job.counts, sort_keys=True),
        "--seed": job.seed,
        "--batch-size": job.batch_size,
        "--vary": job.vary,
        "the optimizer": OPTIMIZER,
    }
