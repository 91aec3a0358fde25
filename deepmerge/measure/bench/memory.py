"""Resident memory of a network's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.errors import EngineError
from deepmerge.measure.harness.process import Worker


def memory_of(engine: str, files: tuple[Path, ...], threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """Return the bytes of a process that runs this network alone. EngineError if the system does not report them.

    engine: resident before the network is loaded (the interpreter and the engine's libraries). peak: the most at any
    time, loading included. running: the most during forwards, after loading (None if the system cannot reset its
    counter). network: the growth since the network was loaded, of `running`, else of `peak`.
    """
    with Worker(engine, threads, device) as worker:
        empty = worker.memory()
        if empty["now"] is None:
            raise EngineError("not available on this machine, because it has no /proc/…/status (Linux)")
        worker.load("network", *files)
        loading = worker.memory()["peak"]
        reset = _reset_peak(empty["pid"])
        for _ in range(3):
            worker.run("network")
        running = worker.memory()["peak"]
    most = max(loading, running)
    own = max((running if reset else most) - empty["now"], 0)
    return {"engine": empty["now"], "peak": most, "running": running if reset else None, "network": own}


def _reset_peak(process: int) -> bool:
    """Set the peak of resident memory to its current value; return whether that works (Linux: clear_refs, 5)."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    except OSError:
        return False
    return True
