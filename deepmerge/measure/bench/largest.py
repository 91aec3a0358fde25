"""The largest batch that fits into memory: by doubling, then by bisection."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepmerge.errors import EngineError, ShapeError
from deepmerge.measure.harness.networks import Network, with_batch
from deepmerge.measure.harness.process import Worker
from deepmerge.temporary import temporary_folder

MOST = 1 << 16
POLL = 0.005  # seconds


def largest_batch(
    engine: str, network: Network, limit: int | str, threads: int = 1, device: str = "cpu"
) -> dict[str, Any]:
    """Find the largest batch that fits into memory, within 2 %.

    limit: the bytes of resident memory that the process may take, or "device" for all of the GPU's memory.
    images: 0 if not even one fits. first_too_large: the smallest batch that was seen not to fit, and `reason`, why;
    None if all fitted. tried: batch → whether it fitted. Raises EngineError if one image does not run for another
    reason.
    """
    tried: dict[int, bool] = {}
    reasons: dict[int, str] = {}

    def measure(batch: int) -> int | None:
        try:
            peak = _peak(engine, network, batch, limit, threads, device)
        except _TooLarge as error:
            reasons[batch] = str(error)
            peak = None
        tried[batch] = peak is not None
        return peak

    images = search(measure, None if limit == "device" else int(limit))
    too_large = min(reasons, default=None)
    return {
        "images": images,
        "limit": limit,
        "first_too_large": too_large,
        "reason": reasons.get(too_large),
        "tried": {str(batch): fitted for batch, fitted in sorted(tried.items())},
    }


def search(measure: Callable[[int], int | None], limit: int | None = None, most: int = MOST) -> int:
    """Return the largest batch that fits, within 2 %, assuming that every smaller one does; 0 if not even one does.

    measure: batch → its peak in bytes, None if it does not fit. Double until one does not fit, then bisect. If there is
    a limit, up to six guesses come first: where a line through the peaks so far meets it.
    """
    peaks: dict[int, int] = {}

    def fits(batch: int) -> bool:
        peak = measure(batch)
        if peak is not None:
            peaks[batch] = peak
        return peak is not None

    if not fits(1):
        return 0
    good, bad, guesses = 1, None, 6
    while good < most and (bad is None or bad - good > _step(good)):
        guess = _met(peaks, limit) if limit and guesses else None
        guesses -= guess is not None
        batch = _between(good, bad, most, guess)
        if fits(batch):
            good = batch
        else:
            bad = batch
    return good


def _step(batch: int) -> int:
    """Return how exact the answer must be."""
    return max(1, batch // 50)


def _between(good: int, bad: int | None, most: int, guess: int | None) -> int:
    """Return what to try next: the guess, or its neighbour if it is known already; else double, or bisect."""
    top = most if bad is None else bad - 1
    if guess is not None:
        guess = good + _step(good) if guess <= good else guess
        guess = top + 1 - _step(top) if bad is not None and guess > top else guess
        if good < guess <= top:
            return guess
    return min(2 * good, most) if bad is None else (good + bad) // 2


def _met(peaks: dict[int, int], limit: int) -> int | None:
    """Return where the line through the two largest batches' peaks reaches the limit; None if it does not."""
    if len(peaks) < 2:
        return None
    low, high = sorted(peaks)[-2:]
    slope = (peaks[high] - peaks[low]) / (high - low)
    return None if slope <= 0 else int(high + (limit - peaks[high]) / slope)


class _TooLarge(Exception):  # noqa: N818  (says why a batch does not fit; it is not a failure)
    """A batch does not fit; the message says why."""


def _peak(engine: str, network: Network, batch: int, limit: int | str, threads: int, device: str) -> int:
    """Return the peak of the process's resident memory with this batch.

    Raises _TooLarge if it does not fit; EngineError if one image alone does not run, and not for lack of memory.
    """
    from deepmerge.formats.write import write_pair

    with temporary_folder() as folder, Worker(engine, threads, device) as worker:
        pair = Path(folder, "deploy.prototxt"), Path(folder, "weights.caffemodel")
        empty = worker.memory()
        if limit != "device" and empty["peak"] is None:
            raise EngineError("not available on this machine, because it has no /proc/…/status (Linux)")
        with _watched(empty["pid"], limit) as killed:
            try:
                write_pair(with_batch(network.graph, batch), *pair)
                worker.load("network", *pair, *filter(None, [network.source.onnx]))
                worker.run("network")
                peak = worker.memory()["peak"] or 0
            except (EngineError, ShapeError) as error:
                if killed.is_set():
                    raise _TooLarge(f"over {limit} bytes") from None
                if batch == 1 and not _lacks_memory(str(error)):
                    raise EngineError(str(error)) from None
                raise _TooLarge(str(error)) from None
    if limit != "device" and peak > limit:
        raise _TooLarge(f"{peak} bytes")
    return peak


def _lacks_memory(error: str) -> bool:
    words = (
        "out of memory",
        "bad alloc",
        "bad_alloc",
        "memoryerror",
        "failed to allocate",
        "sigkill",
        "insufficient memory",
    )
    return any(word in error.lower() for word in words)


@contextlib.contextmanager
def _watched(process: int, limit: int | str) -> Iterator[threading.Event]:
    """Kill the process as soon as its resident memory is above the limit, before the machine runs out of memory."""
    killed, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            if _resident(process) > limit:
                killed.set()
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch, daemon=True)
    if limit != "device":
        thread.start()
    try:
        yield killed
    finally:
        done.set()
        if thread.is_alive():
            thread.join()


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
