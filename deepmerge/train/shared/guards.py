"""What stops a run that goes wrong, with one line: a loss that is no number, a disk that refuses."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from deepmerge.errors import TrainingError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota is used up"}


def require_finite(loss: float, where: str, way_out: str) -> None:
    """TrainingError where the loss is infinite or no number. where: stage and iteration; way_out: what the user may do."""
    if not math.isfinite(loss):
        raise TrainingError(f"{where}: the loss is {loss}, so that training cannot go on; {way_out}")


@contextlib.contextmanager
def writing(place: Path, then: Callable[[], str] = lambda: "") -> Iterator[None]:
    """OSErrors inside become a TrainingError that names `place`. then: called first; what it gives ends the line."""
    try:
        yield
    except OSError as error:
        rest = ""
        with contextlib.suppress(OSError):
            rest = then()
        reason = _FULL.get(error.errno or 0)
        told = f"{reason}; free some space" if reason else error.strerror or str(error)
        raise TrainingError(f"{place}: cannot be written: {told}{rest}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what is to be `path`, which it becomes at the end: whole or not at all. TrainingError as in `writing`."""
    aside = path.with_name(f"{path.name}.partial")

    def dropped() -> str:
        aside.unlink(missing_ok=True)
        return ""

    with writing(path, dropped):
        yield aside
        aside.replace(path)
