"""The client's end of worker.py: start an engine, load networks into it, run them, and say well why it died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deepmerge
from deepmerge.engines.timing.timing import Sample
from deepmerge.errors import EngineError

ROOT = Path(deepmerge.__file__).parents[1]
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Worker:
    """An engine in a process of its own; also a context manager.

    threads: of the CPU, for every library in it. timeout: seconds that one request may take.
    EngineError where the engine's software is missing, with how to get it.
    """

    def __init__(self, engine: str, threads: int = 1, device: str = "cpu", timeout: float = 600.0) -> None:
        self.engine = engine
        self.timeout = timeout
        self._gone = False
        self._stderr = tempfile.TemporaryFile()  # a file, not a pipe: nobody has to empty it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deepmerge.measure.harness.worker", engine, str(threads), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(threads),
            text=True,
            encoding="utf-8",
        )
        try:
            self._answer("starting")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still answers: an engine may end its process on a network that it does not like."""
        return self._process.poll() is None and not self._gone

    def load(self, label: str, prototxt: Path, caffemodel: Path) -> dict[str, Any]:
        return self._ask("load", f"loading {label}", label=label, prototxt=str(prototxt), caffemodel=str(caffemodel))

    def run(self, label: str) -> Sample:
        """One forward of the network."""
        reply = self._ask("time", f"running {label}", label=label)
        return Sample(reply["wall"], reply["waited"])

    def layers(self, label: str, repeat: int, warmup: int) -> dict[str, Any]:
        return self._ask("layers", f"timing the layers of {label}", label=label, repeat=repeat, warmup=warmup)

    def memory(self) -> dict[str, int | None]:
        return self._ask("memory", "asking for memory")

    def unload(self, label: str) -> None:
        self._ask("unload", f"closing {label}", label=label)

    def close(self) -> None:
        """End the worker, and the real Caffe that it may have started: closing stdin lets it end that itself."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _ask(self, command: str, about: str, **fields: Any) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(dict(fields, command=command)) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            self._gone = True
            raise EngineError(f"{self.engine}, {about}: {self._last_words()}") from None
        return self._answer(about)

    def _answer(self, about: str) -> dict[str, Any]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(self.timeout, stop)
        watch.daemon = True
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line.endswith("\n"):
            self._gone = True
            why = f"no answer within {self.timeout:g} s" if late.is_set() else self._last_words()
            raise EngineError(f"{self.engine}, {about}: {why}")
        reply = json.loads(line)
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        code = self._process.returncode
        if code is not None and code < 0:
            name = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
            return f"its process was ended by {name}"
        self._stderr.seek(0, 2)
        self._stderr.seek(max(0, self._stderr.tell() - 8192))
        lines = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f"its process ended with status {code}; its last words: {lines[-1] if lines else 'none'}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(threads: int) -> Mapping[str, str]:
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    environment.update({name: str(threads) for name in THREADS})
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return environment
