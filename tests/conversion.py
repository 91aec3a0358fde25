"""A conversion from files to a folder, as most tests ask for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deepmerge
from deepmerge.convert import convert as conversion
from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.formats.read.inputs import Sizes
from deepmerge.out.write import Settings
from deepmerge.plan import Wishes, make_plan
from deepmerge.progress import Progress, silent


@dataclass(frozen=True)
class Job:
    """The recipe, if there is one, or the wishes say what to do; train_val and inputs: as `deepmerge.load` takes them.

    The others are fields of convert.Job. dry_run: write nothing.
    """

    prototxt: Path
    caffemodel: Path
    out: Path
    wishes: Wishes = field(default_factory=Wishes)
    recipe: Path | None = None
    train_val: Path | None = None
    settings: Settings = field(default_factory=Settings)
    check: bool = False
    strict: bool = False
    force: bool = False
    dry_run: bool = False
    calibration: CalibrationImages | None = None
    inputs: Sizes = field(default_factory=dict)


def convert(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Carry the job out and return the report."""
    recipe = None if job.recipe is None else deepmerge.read_recipe(job.recipe)
    sizes = {**(recipe.inputs if recipe else {}), **job.inputs}
    network = deepmerge.load(job.prototxt, job.caffemodel, train_val=job.train_val, inputs=sizes)
    if job.calibration is not None:
        job.calibration.prepare(network.graph)
    found = network.plan(recipe=recipe).found if recipe else make_plan(network.graph, job.wishes, job.calibration)
    plan = deepmerge.Plan(network, found, job.calibration)
    graph = network.graph
    graph.warnings += plan.notes
    how = {name: getattr(job, name) for name in ("settings", "calibration", "check", "strict", "force")}
    files = Path(job.prototxt), Path(job.caffemodel), None if job.dry_run else Path(job.out)
    return conversion.convert(graph, found, conversion.Job(*files, **how), progress)
