"""How long a run has waited for a core. Linux reports it in /proc/…/schedstat; other systems do not."""

from __future__ import annotations

import time
from pathlib import Path

from deepmerge.engines.timing.timing import Sample, Timed

NANO = 1e-9


def waited_seconds(threads: int = 1) -> float | None:
    """Return the seconds that this thread has waited for a core since it began; None if unknown.

    threads: with more than one, all threads of the process count.
    Source: Linux, Documentation/scheduler/sched-stats.rst: time spent running, time spent waiting on a runqueue, in ns.
    """
    if threads == 1:
        return _waited(Path("/proc/thread-self/schedstat"))
    try:
        found = [_waited(task / "schedstat") for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return None
    known = [seconds for seconds in found if seconds is not None]  # threads may end meanwhile
    return sum(known) if known else None


def _waited(path: Path) -> float | None:
    try:
        fields = path.read_text().split()
        return int(fields[1]) * NANO
    except (OSError, IndexError, ValueError):
        return None


def take(session: Timed, threads: int = 1) -> Sample:
    """Run once. A session in another process reports itself how long it waited (`time_sample`).

    A session may also wait outside of the time that it measures, while it feeds the inputs. The longest time that this
    can have been is left out, so that no running time is subtracted.
    """
    if hasattr(session, "time_sample"):
        return session.time_sample()
    before, start = waited_seconds(threads), time.perf_counter()
    wall = session.time_once()
    whole, after = time.perf_counter() - start, waited_seconds(threads)
    if before is None or after is None:
        return Sample(wall)
    outside = max(whole - wall, 0.0) * threads
    return Sample(wall, min(max(after - before - outside, 0.0), wall * threads))
