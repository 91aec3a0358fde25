"""The client's end of caffe_worker.py: start it, ask it, and say well why it died."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import struct
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepmerge.engines.discover import WORKER, clean_environment
from deepmerge.errors import EngineError

Arrays = Sequence[tuple[str, np.ndarray]]

# glog's line for a fatal error: F20261122 16:47:18.450358  4392 upgrade_proto.cpp:90] Check failed: …
FATAL = re.compile(r"^F\d{4,8} .*?\] (.*)$")
PROTOBUF = re.compile(r"^\[libprotobuf (?:ERROR|FATAL) [^\]]*\] (.*)$")
TAIL_BYTES = 65536


class CaffeProcess:
    """A running worker. One request at a time; closed by close(), garbage collection or exit.

    ``threads``: CPU threads of BLAS and OpenMP. ``timeout``: seconds that one request may take.
    Raises EngineError where the worker does not start.
    """

    def __init__(self, python: Path, threads: int = 1, timeout: float = 600.0) -> None:
        self.python = python
        self.timeout = timeout
        self._epitaph = ""
        # A file, not a pipe: nobody has to empty it while Caffe talks.
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [str(python), str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=_environment(threads),
            )
        except OSError as error:
            self._stderr.close()
            raise EngineError(f"{python} cannot be run: {error.strerror}") from None
        self._end = weakref.finalize(self, _end, self._process, self._stderr)
        self._exchange(None, (), "starting real Caffe")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._end.alive and self._process.poll() is None

    def request(
        self, command: str, about: str, arrays: Arrays = (), **fields: Any
    ) -> tuple[dict[str, Any], list[tuple[str, np.ndarray]]]:
        """Send a command; returns the reply's header and its float32 arrays.

        ``about`` says what is being done, with the file concerned, for the message of the
        EngineError that is raised when Caffe refuses, dies, or takes longer than the timeout.
        """
        if not self._end.alive:
            reason = self._epitaph or "it was closed"
            raise EngineError(f"real Caffe, {about}: the worker is not running ({reason})")
        reply, results = self._exchange(dict(fields, command=command), arrays, about)
        if "error" in reply:
            raise EngineError(f"real Caffe, {about}: {reply['error']}")
        return reply, results

    def close(self) -> None:
        """End the worker. It is gone, not a zombie, when this returns."""
        self._end()

    def _exchange(self, header: dict[str, Any] | None, arrays: Arrays, about: str):
        late = threading.Event()

        process = self._process

        def stop() -> None:
            # holds no self: the timer's thread may outlive the exchange, and must not keep us alive
            late.set()
            process.kill()

        watch = threading.Timer(self.timeout, stop)
        watch.daemon = True
        watch.start()
        try:
            if header is not None:
                _write_frame(self._process.stdin, header, arrays)
            return _read_frame(self._process.stdout)
        except (EOFError, OSError):
            self._epitaph = f"no answer within {self.timeout:g} s" if late.is_set() else self._last_words()
            self._end()
            raise EngineError(f"real Caffe, {about}: {self._epitaph}") from None
        except BaseException:
            # Half an exchange, as after Ctrl-C, leaves a worker that answers the wrong question.
            self._end()
            raise
        finally:
            watch.cancel()

    def _last_words(self) -> str:
        """Why the worker died: the last check that failed, else how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - TAIL_BYTES))
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        failed = [match[1] for line in lines if (match := FATAL.match(line))]
        if failed:
            parse = [match[1] for line in lines if (match := PROTOBUF.match(line))]
            return failed[-1] + (f" ({parse[-1]})" if parse else "")
        code = self._process.returncode
        said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                return f"the worker was ended by {name}; its last words: {said}"
        return f"the worker ended with status {code}; its last words: {said}"


def _environment(threads: int) -> dict[str, str]:
    environment = clean_environment()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[variable] = str(threads)
    # errors only: Caffe writes a page about every network otherwise
    environment.update(GLOG_minloglevel="2", GLOG_logtostderr="1", PYTHONUNBUFFERED="1")
    return environment


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
    """End the worker and collect it. It has nothing to lose, so it is killed, not asked."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, stderr):
        # what could not be flushed into a dead worker's pipe is of no use to anybody
        with contextlib.suppress(OSError):
            stream.close()


def _write_frame(stream: IO[bytes], header: dict[str, Any], arrays: Arrays) -> None:
    header["arrays"] = [[name, list(array.shape)] for name, array in arrays]
    data = json.dumps(header).encode()
    stream.write(struct.pack("<I", len(data)) + data)
    for _, array in arrays:
        stream.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
    stream.flush()


def _read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], list[tuple[str, np.ndarray]]]:
    (size,) = struct.unpack("<I", _read_exactly(stream, 4))
    header = json.loads(_read_exactly(stream, size))
    arrays = []
    for name, shape in header["arrays"]:
        array = np.empty(shape, dtype="<f4")
        if stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise EOFError
        arrays.append((name, array))
    return header, arrays


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
