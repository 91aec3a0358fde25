"""One engine in a process of its own, so that its threads, memory or crash do not affect other measurements.

    python -m deepmerge.measure.harness.worker ENGINE THREADS DEVICE

Requests come on stdin, replies go to the original stdout, each one line of JSON. A request has a "command"; a reply has
the result, or an "error", and "ended" if the engine has ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.errors import DeepmergeError
from deepmerge.signals import left_to_the_parent
from deepmerge.text import flat

LOW, HIGH = -128.0, 127.0  # noise as images with their mean taken off
OUT_OF_MEMORY = "out of memory"  # the error for a request that took more than there was


class Server:
    """The engine and the networks loaded in it, by label."""

    def __init__(self, name: str, threads: int, device: str = "cpu") -> None:
        from deepmerge.engines import engine

        self.threads = threads
        self.engine = engine(name, device=device) if device != "cpu" else engine(name)
        self.sessions: dict[str, Any] = {}
        # real Caffe runs in yet another process; it is there from the start, so that its memory can be watched
        self._caffe = self.engine.start(threads) if hasattr(self.engine, "load_files") else None

    def load(self, label: str, files: list[str], seed: int = 0) -> dict:
        """Load a network and run it on noise. Returns source: what was read.

        files: its prototxt and its caffemodel, and its ONNX file if that is what is run.
        """
        from deepmerge.engines.base import load_onnx
        from deepmerge.formats.read import read_network

        if len(files) == 3:
            session = load_onnx(self.engine, Path(files[2]), read_network(*files[:2]), self.threads)
        elif self._caffe:
            session = self._caffe.load(*files)
        else:
            session = self.engine.load(read_network(*files), self.threads)
        self._limit_threads()
        rng = np.random.default_rng(seed)
        feeds = {name: rng.uniform(LOW, HIGH, shape).astype(np.float32) for name, shape in session.inputs.items()}
        try:
            with np.errstate(all="ignore"):
                session.forward(feeds)
        except Exception:
            session.close()
            raise
        self.sessions[label] = session
        return {"source": getattr(session, "source", None)}

    def drop(self, label: str) -> dict:
        """Release a network. Its graph has cycles, and keeps the weights until they are collected."""
        self.sessions.pop(label).close()
        gc.collect()
        return {}

    @property
    def alive(self) -> bool:
        """Whether it can take a request: real Caffe, in its own process, may have ended."""
        return self._caffe is None or self._caffe.process.alive

    def time(self, label: str) -> dict:
        """Run once. Returns wall, waited: seconds (see timing.Sample)."""
        from deepmerge.engines.timing.waiting import take

        sample = take(self.sessions[label], self.threads)
        return {"wall": sample.wall, "waited": sample.waited}

    def layers(self, label: str, repeat: int, warmup: int) -> dict:
        """Time the layers.

        Returns layers: [name, type, seconds of each forward]; forwards: the seconds of each, if they are not run as in
        `time`.
        """
        session = self.sessions[label]
        if not hasattr(session, "time_layers"):
            raise DeepmergeError(f"{self.engine.name} does not report its layers' times")
        layers = session.time_layers(repeat, warmup)
        return {"layers": layers, "forwards": getattr(session, "forward_seconds", None)}

    def memory(self) -> dict:
        """Return pid: the process that runs the networks; peak, now: its resident bytes, None if unknown."""
        return {"pid": self._elsewhere() or os.getpid(), **resident(self._elsewhere())}

    def _elsewhere(self) -> int | None:
        return self._caffe.process.pid if self._caffe else None

    def _limit_threads(self) -> None:
        """Limit the thread pools of native libraries that ignored the environment."""
        with contextlib.suppress(ImportError):
            import threadpoolctl

            threadpoolctl.threadpool_limits(self.threads)


def resident(process: int | None = None) -> dict[str, int | None]:
    """Return a process's bytes of resident memory, now and at its peak. Linux: /proc/…/status."""
    fields: dict[str, int | None] = {"peak": None, "now": None}
    try:
        lines = Path(f"/proc/{process or 'self'}/status").read_text().splitlines()
    except OSError:
        return fields
    for line in lines:
        key, _, rest = line.partition(":")
        if key in ("VmHWM", "VmRSS"):
            fields["peak" if key == "VmHWM" else "now"] = int(rest.split()[0]) * 1024
    return fields


def serve(server: Server, requests, replies) -> None:
    """Answer the requests, one a line. Ends when the engine has ended."""
    names = "load", "drop", "time", "layers", "memory"
    commands: dict[str, Callable[..., dict]] = {name: getattr(server, name) for name in names}
    for line in requests:
        if not server.alive:
            break
        request = json.loads(line)
        try:
            reply = commands[request.pop("command")](**request)
        except DeepmergeError as error:
            reply = {"error": flat(error)}
        except MemoryError:
            reply = {"error": OUT_OF_MEMORY}
        except Exception as error:
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        if not server.alive:
            reply["ended"] = True
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main(arguments: list[str]) -> int:
    """Start the engine and serve. arguments: its name, CPU threads, the device."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what engines print must not mix with the replies
    left_to_the_parent()
    try:
        server = Server(arguments[0], int(arguments[1]), *arguments[2:3])
    except DeepmergeError as error:
        replies.write(json.dumps({"error": flat(error)}) + "\n")
        replies.flush()
        return 1
    replies.write(json.dumps({"ready": True}) + "\n")
    replies.flush()
    serve(server, sys.stdin, replies)
    return 0
