"""Signals end a run in order: it cleans up, no traceback is shown, and the exit code says which signal came.

The first signal raises an exception in the main thread: KeyboardInterrupt for SIGINT, else SystemExit. Later ones are
ignored, because they would interrupt the cleaning up.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_LATER = 0.01  # seconds until an exception that was lost is raised again


class _State:
    """What has become of the signals so far."""

    number = 0  # the first one that came
    raised: BaseException | None = None  # the exception that it became
    waits = 0  # how many blocks of `held_off` run


_state = _State()


def received() -> int:
    """Return the number of the signal that ends this process, 0 if none came."""
    return _state.number


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Let signals end the block and then the process, with exit code 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP).

    For the main thread of a process of our own. A signal that is ignored, as SIGHUP is under nohup, stays so. After the
    block, signals end the process at once, or are ignored if one has ended the block.
    """
    numbers = [number for number in _numbers() if signal.getsignal(number) != signal.SIG_IGN]
    sys.unraisablehook = _lost
    for number in numbers:
        signal.signal(number, _arrived)
    try:
        yield
    finally:
        _state.waits += 1
        for number in numbers:
            signal.signal(number, signal.SIG_IGN if _state.number else signal.SIG_DFL)
        if _state.number:
            raise SystemExit(128 + _state.number) from None


@contextlib.contextmanager
def held_off() -> Iterator[None]:
    """Let signals wait until the block is done. Only for blocks that are short."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt the main thread only
        return
    _state.waits += 1
    try:
        yield
    finally:
        _state.waits -= 1
        _raise()


def left_to_the_parent() -> None:
    """Ignore the signals in a worker process: a terminal sends them to it too, but its parent ends it."""
    for number in _numbers():
        signal.signal(number, signal.SIG_IGN)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def _arrived(number: int, _frame: object) -> None:
    _state.number = _state.number or number
    _raise()


def _raise() -> None:
    """Raise what the signal means, unless there was none, it is raised already, or it has to wait."""
    if not _state.number or _state.raised or _state.waits:
        return
    _state.raised = KeyboardInterrupt() if _state.number == signal.SIGINT else SystemExit(128 + _state.number)
    raise _state.raised


def _lost(unraisable: sys.UnraisableHookArgs, /) -> None:
    """Raise the exception again a moment later: Python drops it in destructors and in callbacks of weak references.

    A timer, not a thread: the callback may hold a lock that starting a thread takes.
    """
    if _state.raised is None or unraisable.exc_value is not _state.raised:
        sys.__unraisablehook__(unraisable)
    elif hasattr(signal, "setitimer"):
        _state.raised = None
        signal.signal(signal.SIGALRM, lambda *_: _raise())
        signal.setitimer(signal.ITIMER_REAL, _LATER)
