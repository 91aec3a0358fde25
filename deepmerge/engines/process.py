"""A child process that answers requests, and what to say when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TypeVar

from deepmerge.errors import EngineError
from deepmerge.signals import held_off

Reply = TypeVar("Reply")

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_TAIL = 65536  # bytes of stderr that are searched for the reason of a child's death


def environment(threads: int, base: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the environment `base` with the number of CPU threads for native libraries, and with `more` variables."""
    return {**base, **dict.fromkeys(_THREADS, str(threads)), "PYTHONUNBUFFERED": "1", **more}


def inherited() -> dict[str, str]:
    """Return this process's environment without what ties a child to this interpreter.

    PYTHONPATH stays: a Caffe that is built from source is found by it.
    """
    dropped = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "PYTHONSTARTUP")
    return {key: value for key, value in os.environ.items() if key not in dropped}


class Child:
    """A running child process. It takes one request at a time, and ends with close(), garbage collection or exit.

    name: its name in error messages. timeout: seconds that one request may take. grace: seconds that the child has to
    end by itself after its stdin is closed; then it is killed. explain: finds the reason of its death in the lines of
    its stderr; "" if there is none. EngineError if it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        name: str,
        *,
        timeout: float = 600.0,
        grace: float = 0.0,
        explain: Callable[[list[str]], str] = lambda _lines: "",
    ) -> None:
        self.name, self.timeout = name, timeout
        self._explain = explain
        self._epitaph = "it was closed"
        self._stderr = tempfile.TemporaryFile()  # not a pipe, which would block the child when it is full
        pipe = subprocess.PIPE
        try:
            with held_off():  # a signal must not come between the process's start and its finalizer
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._stderr, env=env)
                self._end = weakref.finalize(self, _end, self._process, self._stderr, grace)
        except OSError as error:
            self._stderr.close()
            raise EngineError(f"{command[0]} cannot be run: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a request: an engine may end its process on a network that it cannot run."""
        return self._end.alive and self._process.poll() is None

    def exchange(self, talk: Callable[[IO[bytes], IO[bytes]], Reply], about: str) -> Reply:
        """Return what `talk(stdin, stdout)` returns: it writes one request and reads the reply.

        talk: raises EOFError where the reply is cut short. about: what is being done, for messages.
        EngineError if the child has died, dies, or takes longer than the timeout.
        """
        if not self._end.alive:
            raise self.error(about, f"the worker is not running ({self._epitaph})")
        late = threading.Event()
        process = self._process

        def stop() -> None:
            # without `self`: the timer's thread may outlive the exchange, and must not keep this object alive
            late.set()
            process.kill()

        watch = threading.Timer(self.timeout, stop)
        watch.daemon = True
        watch.start()
        try:
            return talk(process.stdin, process.stdout)
        except (EOFError, OSError):
            self._epitaph = f"no answer within {self.timeout:g} s" if late.is_set() else self._last_words()
            self._end()
            raise self.error(about, self._epitaph) from None
        except BaseException:
            # Half an exchange, as after Ctrl-C, leaves a child that answers the wrong question.
            self._end()
            raise
        finally:
            watch.cancel()

    def error(self, about: str, reason: str) -> EngineError:
        """Return the error that names the child and what was being done."""
        return EngineError(f"{self.name}, {about}: {reason}")

    def close(self) -> None:
        """End the child. When this returns, it is gone and not a zombie."""
        self._end()

    def _last_words(self) -> str:
        """Return why the child died: the reason that `explain` finds, else how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        self._stderr.seek(max(0, self._stderr.seek(0, 2) - _TAIL))
        lines = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        if reason := self._explain(lines):
            return reason
        said = f"its last words: {lines[-1] if lines else 'none'}"
        code = self._process.returncode
        if code is not None and code < 0:
            number = -code
            name = next((s.name for s in signal.Signals if s == number), f"signal {number}")
            return f"its process was ended by {name}; {said}"
        return f"its process ended with status {code}; {said}"


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes], grace: float) -> None:
    """End the child and collect it. Closing its stdin lets it end its own children."""
    if not grace:
        process.kill()  # first: closing stdin flushes it, which a child that hangs would block
    with contextlib.suppress(OSError):  # what a dead child did not read
        process.stdin.close()
    try:
        process.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    stderr.close()
