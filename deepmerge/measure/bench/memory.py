"""Resident memory of a network's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.errors import EngineError
from deepmerge.measure.harness.process import Worker


def memory_of(engine: str, pair: tuple[Path, Path], threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """Bytes of a process that runs this network alone. EngineError where the system does not tell.

    engine: resident before the network is loaded (the interpreter and the engine's libraries); peak: the most that it ever
    had, loading included; running: the most while it ran forwards, the network loaded (None where the system cannot reset
    its counter); network: what of that, or else of the peak, was not there before the network.
    """
    with Worker(engine, threads, device) as worker:
        empty = worker.memory()
        if empty["now"] is None:
            raise EngineError("not available on this machine, because it has no /proc/…/status (Linux)")
        worker.load("network", *pair)
        loading = worker.memory()["peak"]
        reset = _reset_peak(empty["pid"])
        for _ in range(3):
            worker.run("network")
        running = worker.memory()["peak"]
    most = max(loading, running)
    own = max((running if reset else most) - empty["now"], 0)
    return {"engine": empty["now"], "peak": most, "running": running if reset else None, "network": own}


def _reset_peak(process: int) -> bool:
    """Linux: 5, written to /proc/…/clear_refs, makes the peak of resident memory what it is now."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    except OSError:
        return False
    return True
