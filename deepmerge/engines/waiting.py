"""How long a run has waited for a core that others had. Linux tells it (/proc/…/schedstat), other systems do not."""

from __future__ import annotations

from pathlib import Path

from deepmerge.engines.timing import Sample, Timed

NANO = 1e-9


def waited_seconds(process: int | None = None, threads: int = 1) -> float | None:
    """Seconds that threads stood ready while others had the cores, since they began; None where nobody counts.

    process: another process's id, None for this thread (or for this process, where several threads count).
    Source: Linux, Documentation/scheduler/sched-stats.rst: time spent running, time spent waiting on a runqueue, in ns.
    """
    who = "self" if process is None else str(process)
    if threads == 1:
        # a process's own schedstat is its main thread's, the one that runs in a worker
        return _waited(Path("/proc/thread-self/schedstat" if process is None else f"/proc/{who}/schedstat"))
    try:
        found = [_waited(task / "schedstat") for task in Path(f"/proc/{who}/task").iterdir()]
    except OSError:
        return None
    known = [seconds for seconds in found if seconds is not None]  # threads end while we look
    return sum(known) if known else None


def _waited(path: Path) -> float | None:
    try:
        fields = path.read_text().split()
        return int(fields[1]) * NANO
    except (OSError, IndexError, ValueError):
        return None


def take(session: Timed, threads: int = 1, process: int | None = None) -> Sample:
    """Run once. process: the one in which the session runs, None for this one."""
    before = waited_seconds(process, threads)
    wall = session.time_once()
    after = waited_seconds(process, threads)
    if before is None or after is None:
        return Sample(wall)
    return Sample(wall, min(max(after - before, 0.0), wall))
