"""Training of converted networks: recover without labels, fine-tune with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmerge.api.support import PathLike, Report, overrides
from deepmerge.errors import PlanError
from deepmerge.progress import Progress, silent
from deepmerge.text import did_you_mean


def recover(
    folder: PathLike,
    data: str,
    out: PathLike,
    *,
    stages: Sequence[str] | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    force: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Recover accuracy without labels, as `deepmerge recover` does, and return the new report.

    Parameters
    ----------
    folder
        What `Network.convert` or `deepmerge convert` wrote.
    data
        Images to learn from (no labels needed), such as "folder:photos".
    out
        The folder to write; it has the form of `folder`.
    stages
        Some of "lsq", "refit", "front", "tail", "distill"; None for lsq, then front and tail for a large network on a
        CPU, else distill.
    minutes
        The time for all stages together; None for a default number of iterations.
    device
        "cpu" or "cuda".
    options
        The other fields of `deepmerge.train.recover.spec.Job`: wishes, steps, limit, counts, seed, inputs …
    """
    from deepmerge.train.recover import STAGES
    from deepmerge.train.recover.job import recover as run
    from deepmerge.train.recover.spec import Job

    if stages is not None:
        for unknown in (stage for stage in stages if stage not in STAGES):
            raise PlanError(f"recover has no stage {unknown!r}", remedy=did_you_mean(unknown, STAGES))
        options["stages"] = tuple(stage for stage in STAGES if stage in stages)
    return run(Job(Path(folder), data, Path(out), minutes=minutes, device=device, force=force, **options), progress)


def finetune(
    folder: PathLike,
    data: str,
    out: PathLike,
    *,
    test_data: str | None = None,
    steps: str | None = None,
    solver: Mapping[str, str] | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    force: bool = False,
    say: Callable[[str], object] = lambda line: None,
    **options: Any,
) -> Report:
    """Fine-tune with labels, as `deepmerge finetune` does, and return the new report.

    Parameters
    ----------
    folder
        What `Network.convert`, `recover` or their commands wrote.
    data
        Labelled images to train on, such as "lmdb:train_lmdb".
    out
        The folder to write; it has the form of `folder`.
    test_data
        Labelled images to test on, when the solver says and at the end.
    steps
        The steps to fine-tune in turn: "all", or names and ranges; None for the final network at once.
    solver
        Fields of the solvers to override, such as {"max_iter": "2000"}.
    minutes
        The limit for all steps together; None for none.
    device
        "cpu" or "cuda".
    say
        Called with a line for each display, test and step.
    options
        The other fields of `deepmerge.train.finetune.spec.Job`: wishes, engine, limit, distill, seed, inputs …
    """
    from deepmerge.train.finetune.job import finetune as run
    from deepmerge.train.finetune.spec import Job

    chosen = {"test_data": test_data, "steps": steps, "solver": overrides(solver), "minutes": minutes}
    return run(Job(Path(folder), Path(out), data, **chosen, device=device, force=force, **options), say)
