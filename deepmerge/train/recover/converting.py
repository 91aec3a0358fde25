"""Converting and recovering in one go: what convert --recover does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepmerge.convert import convert as conversion
from deepmerge.data import ImageWishes
from deepmerge.out.digest import Digest
from deepmerge.out.staging import check_free, scratch
from deepmerge.progress import Progress
from deepmerge.train.recover.budget import USUAL
from deepmerge.train.recover.job import Job, recover


def convert_and_recover(
    job: conversion.Job, data: str, wishes: ImageWishes, progress: Progress, digest: Digest | None, *,
    minutes: float | None = None, stages: Sequence[str] = USUAL, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Write to job.out what convert and then recover would write, and return the report. A DeepmergeError leaves nothing
    behind but recover's checkpoint, from which the same call goes on: the conversion gives the same bytes again.
    """
    check_free(job.out, job.force)
    with scratch(job.out) as folder:
        converted = folder / job.out.name
        conversion.convert(replace(job, out=converted, force=False), progress, digest)
        recovery = Job(
            converted, data, job.out, (Path(job.prototxt), Path(job.caffemodel)), wishes, tuple(stages),
            minutes=minutes, device=device, strict=job.strict, force=job.force,
        )  # fmt: skip
        return recover(recovery, progress)
