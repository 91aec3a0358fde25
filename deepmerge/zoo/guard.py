"""A process for one model, watched from here: it has a limit of time and one of memory, and its end is its own.

The processes are forked from one that has everything imported, so that a model does not pay for Python's start. Each is
the first of a session of its own, and ends when the process that watches it is gone.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import deepmerge
from deepmerge.engines.process import environment
from deepmerge.errors import EngineError, one_line
from deepmerge.machine import cores, memory, resident
from deepmerge.names import for_terminal
from deepmerge.signals import left_to_the_parent
from deepmerge.temporary import remove_leftovers, temporary_folder
from deepmerge.text import flat, size
from deepmerge.zoo.record import CONVERTED, FAILED, SET_ASIDE, Failure, Task, write_failure

if TYPE_CHECKING:
    from deepmerge.data import ImageWishes

Convert = Callable[[Sequence[str]], "ImageWishes"]  # see options.Converter

STOPPED = "stopped"
_TICK = 0.05  # seconds between two looks at a process
_TWICE = 2
_SAID = "said.json"  # what a process writes when it fails
_starting = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What came of a model. status: as in its record, or STOPPED, which leaves none. line: why it failed."""

    name: str
    status: str
    seconds: float
    line: str = ""


def guarded(task: Task, convert: Convert, stop: threading.Event | None = None) -> Outcome:
    """Convert a model in a process of its own, and return what came of it.

    A process that the system kills gets a second one; then the model is set aside. stop: ends the process when set.
    """
    _check_version(task)
    for _ in range(_TWICE):
        failure, seconds = _attempt(task, convert, stop)
        if stop is not None and stop.is_set():
            return Outcome(task.name, STOPPED, seconds)
        if failure is None:
            return Outcome(task.name, CONVERTED, seconds)
        if failure.kind != "killed":
            break
    write_failure(task, failure)
    return Outcome(task.name, SET_ASIDE if failure.kind == "killed" else FAILED, failure.seconds, failure.message)


def _check_version(task: Task) -> None:
    """Raise EngineError if the command that made the task is of another version, as on another machine."""
    if task.version != deepmerge.__version__:
        text = f"a worker has deepmerge {deepmerge.__version__}, and the command {task.version}"
        raise EngineError(text, remedy="install the same version everywhere")


def _attempt(task: Task, convert: Convert, stop: threading.Event | None) -> tuple[Failure | None, float]:
    """Return the failure of one process, None if all went well, and how many seconds it took."""
    begun = time.monotonic()
    with temporary_folder() as folder:
        process = _started(task, convert, folder)
        broken = _watch(process, task, begun, stop)
        process.join()
        seconds, code = time.monotonic() - begun, process.exitcode
        process.close()
        if not code and not broken:
            return None, seconds
        remove_leftovers(Path(task.out), Path(task.out).parent)
        kind, message = broken or _said(folder, code)
        log = (folder / "log").read_bytes() if (folder / "log").exists() else b""
    return Failure(kind, message, seconds, log), seconds


def _watch(process: BaseProcess, task: Task, begun: float, stop: threading.Event | None) -> tuple[str, str] | None:
    """Wait for the process; kill it if it goes over a limit, and return the kind of limit and the message."""
    most = task.memory or memory() * min(task.threads, cores()) // cores()
    while not connection.wait([process.sentinel], min(_TICK, max(begun + task.seconds - time.monotonic(), 0.001))):
        if stop is not None and stop.is_set():
            broken = STOPPED, ""
        elif time.monotonic() - begun > task.seconds:
            broken = "time", f"it took more than {task.seconds:g} s (limits.seconds), and was ended"
        elif resident(process.pid) > most:
            broken = "memory", f"it took more than {size(most)} of memory (limits.gigabytes), and was ended"
        else:
            continue
        _kill(process)
        return broken
    return None


def _kill(process: BaseProcess) -> None:
    """Kill the process and what it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
            return
    process.kill()  # before it has become the first of its session


def _said(folder: Path, code: int | None) -> tuple[str, str]:
    """Return the kind and the message of a failure, from what the process has written, or from how it has ended."""
    try:
        said = json.loads((folder / _SAID).read_bytes())
        return said["kind"], said["message"]
    except (OSError, ValueError, KeyError):
        number = -(code or 0)
        name = next((s.name for s in signal.Signals if s == number), f"status {code}")
        return "killed", f"its process was ended by {name}, twice; --retry-failed tries it again"


# -- the process that all others are forked from ---------------------------------------------------


def _started(task: Task, convert: Convert, folder: Path) -> BaseProcess:
    """Start the model's process."""
    context = _context(task.threads, convert)
    process = context.Process(target=_child, args=(task, convert, str(folder)), name=task.name)
    with _starting, _may_have_children():
        process.start()
    return process


def _context(threads: int, convert: Convert) -> BaseContext:
    """Return what starts processes; where the system can fork, they are forked from one that has all imported."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "deepmerge.zoo.warm", convert.__module__])
    with _starting, _variables(environment(threads, {}, OPENBLAS_THREAD_TIMEOUT="4")):
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Give a process that is started in the block these environment variables."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _may_have_children() -> Iterator[None]:
    """Let a daemonic process start others, as a worker of Dask is: the model's process ends with it by itself."""
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    daemon = config.pop("daemon", None)
    try:
        yield
    finally:
        if daemon is not None:
            config["daemon"] = daemon


# -- inside the model's process --------------------------------------------------------------------


def _child(task: Task, convert: Convert, folder: str) -> None:
    """Convert the model, with a log in the folder; what is wrong is written there, too, and the exit code is 1."""
    left_to_the_parent()
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    handle = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(handle, number)
    try:
        from deepmerge.zoo.one import make

        make(task, convert)
    except BaseException as error:
        traceback.print_exc()
        from deepmerge.zoo.checks import ExpectationError

        kind = "check" if isinstance(error, ExpectationError) else "error"
        said = {"kind": kind, "message": for_terminal(flat(one_line(error, "report it, with log.txt")))}
        Path(folder, _SAID).write_text(json.dumps(said), encoding="utf-8")
        sys.exit(1)


def _end_with_the_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
