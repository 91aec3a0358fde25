"""The client's end of worker.py: start an engine, load networks into it, and run them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import deepmerge
from deepmerge.engines.process import Child, environment
from deepmerge.engines.timing.timing import Sample
from deepmerge.errors import EngineError

ROOT = Path(deepmerge.__file__).parents[1]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from deepmerge.measure.harness.worker import main; sys.exit(main(sys.argv[2:]))"
)


class Worker(Child):
    """An engine in a process of its own; also a context manager.

    threads: CPU threads for each library in it. timeout: seconds that one request may take; longer than real Caffe's in
    it, which has to be ended first.
    EngineError, with how to get it, if the engine's software is missing.
    """

    def __init__(self, engine: str, threads: int = 1, device: str = "cpu", timeout: float = 660.0) -> None:
        # the package's place is no PYTHONPATH: real Caffe, which another Python runs, would find what lies beside it
        command = [sys.executable, "-c", _START, str(ROOT), engine, str(threads), device]
        env = environment(threads, os.environ)
        # grace: real Caffe, which the worker may have started, is ended by the worker itself
        super().__init__(command, env, engine, timeout=timeout, grace=10.0)
        try:
            self._ask(None, "starting")
        except EngineError:
            self.close()
            raise

    def load(self, label: str, *files: Path) -> dict[str, Any]:
        """Load a network: its prototxt, its caffemodel, perhaps its ONNX file; see worker.Server.load for the reply."""
        return self._ask("load", f"loading {label}", label=label, files=[str(file) for file in files])

    def drop(self, label: str) -> None:
        """Release a network."""
        self._ask("drop", f"releasing {label}", label=label)

    def run(self, label: str) -> Sample:
        """Run the network forward once."""
        reply = self._ask("time", f"running {label}", label=label)
        return Sample(reply["wall"], reply["waited"])

    def layers(self, label: str, repeat: int, warmup: int) -> dict[str, Any]:
        """Time the network's layers; see worker.Server.layers for the reply."""
        return self._ask("layers", f"timing the layers of {label}", label=label, repeat=repeat, warmup=warmup)

    def memory(self) -> dict[str, int | None]:
        """Return the process's memory; see worker.Server.memory."""
        return self._ask("memory", "asking for memory")

    def _ask(self, command: str | None, about: str, **fields: Any) -> dict[str, Any]:
        """Send a command, if any, and return the reply."""
        line = json.dumps(dict(fields, command=command)) + "\n"

        def talk(stdin: IO[bytes], stdout: IO[bytes]) -> bytes:
            if command is not None:
                stdin.write(line.encode())
                stdin.flush()
            answer = stdout.readline()
            if not answer.endswith(b"\n"):
                raise EOFError
            return answer

        reply = json.loads(self.exchange(talk, about))
        if "ended" in reply:
            self.close()
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
