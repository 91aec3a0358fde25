"""Errors that stop a run: a loss that is not finite, a disk that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterator
from pathlib import Path

from deepmerge.errors import TrainingError
from deepmerge.out import staging

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota is used up"}


class DivergedError(TrainingError):
    """Training whose loss or weights are not finite."""


def require_finite(loss: float, where: str, remedy: str) -> None:
    """Raise DivergedError if the loss is not finite. where: stage and iteration. remedy: what the user can do."""
    if not math.isfinite(loss):
        raise DivergedError(f"{where}: training diverged (the loss is {loss})", remedy=remedy)


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an OSError into a TrainingError that names `place`."""
    try:
        yield
    except OSError as error:
        reason = _FULL.get(error.errno or 0)
        why = f"{reason}; free some space" if reason else error.strerror or str(error)
        raise TrainingError(f"{place}: cannot be written: {why}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write, which replaces `path` at the end if all went well. TrainingError as in `writing`."""
    with writing(path), staging.replacing(path, path.with_name(f"{path.name}.partial")) as aside:
        yield aside
