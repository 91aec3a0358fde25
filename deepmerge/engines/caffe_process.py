"""The client's end of caffe_worker.py: start it, and send it requests."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepmerge.engines.find_caffe import WORKER
from deepmerge.engines.process import Child, environment, inherited

Arrays = Sequence[tuple[str, np.ndarray]]
Answer = tuple[dict[str, Any], list[tuple[str, np.ndarray]]]

# glog's line for a fatal error: F20261122 16:47:18.450358  4392 upgrade_proto.cpp:90] Check failed: …
FATAL = re.compile(r"^F\d{4,8} .*?\] (.*)$")
PROTOBUF = re.compile(r"^\[libprotobuf (?:ERROR|FATAL) [^\]]*\] (.*)$")


class CaffeProcess(Child):
    """A worker with real Caffe. EngineError if it does not start.

    threads: CPU threads of BLAS and OpenMP. timeout: seconds that one request may take.
    """

    def __init__(self, python: Path, threads: int = 1, timeout: float = 600.0) -> None:
        # errors only: Caffe logs a page about each network otherwise
        env = environment(threads, inherited(), GLOG_minloglevel="2", GLOG_logtostderr="1")
        super().__init__([str(python), str(WORKER)], env, "real Caffe", timeout=timeout, explain=_failed_check)
        self.exchange(lambda _stdin, stdout: _read_frame(stdout), "starting real Caffe")

    def request(self, command: str, about: str, arrays: Arrays = (), **fields: Any) -> Answer:
        """Send a command and return the reply's header and its float32 arrays.

        about: what is being done, and to which file. EngineError if Caffe refuses, dies, or takes too long.
        """
        header = dict(fields, command=command)

        def talk(stdin: IO[bytes], stdout: IO[bytes]) -> Answer:
            _write_frame(stdin, header, arrays)
            return _read_frame(stdout)

        reply, results = self.exchange(talk, about)
        if "error" in reply:
            raise self.error(about, reply["error"])
        return reply, results


def _failed_check(lines: list[str]) -> str:
    """Return the last check of Caffe that failed, and what protobuf said; "" if none did."""
    failed = [match[1] for line in lines if (match := FATAL.match(line))]
    parse = [match[1] for line in lines if (match := PROTOBUF.match(line))]
    if not failed:
        return ""
    return failed[-1] + (f" ({parse[-1]})" if parse else "")


def _write_frame(stream: IO[bytes], header: dict[str, Any], arrays: Arrays) -> None:
    header["arrays"] = [[name, list(array.shape)] for name, array in arrays]
    data = json.dumps(header).encode()
    stream.write(struct.pack("<I", len(data)) + data)
    for _, array in arrays:
        stream.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
    stream.flush()


def _read_frame(stream: IO[bytes]) -> Answer:
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
