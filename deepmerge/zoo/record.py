"""What a model's folder in OUT says about itself: result.json, without times, and run.json, with them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deepmerge
from deepmerge.names import encoded
from deepmerge.out.report import report_text
from deepmerge.out.staging import staged, write_whole
from deepmerge.zoo.files import digest, signature

VERSION = 1
CONVERTED, FAILED, SET_ASIDE = "converted", "failed", "set aside"
RESULT, RUN, LOG = "result.json", "run.json", "log.txt"


@dataclass(frozen=True)
class Task:
    """What is to be done for one model. It goes to another process, perhaps on another machine.

    base: the manifest's folder, from which paths go on. out: the model's folder in OUT, absolute. reads: all that the
    result depends on, by key: prototxt, caffemodel, files and images of options. sha256: what files must be, by kind.
    expect: see manifest.Expect. threads: CPU threads that it may use. version: that of the deepmerge that made it.
    """

    name: str
    base: str
    out: str
    reads: Mapping[str, str]
    words: tuple[str, ...]
    expect: Mapping[str, Any]
    seconds: float
    memory: int | None
    sha256: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    version: str = deepmerge.__version__

    @property
    def pair(self) -> tuple[str, str]:
        """The network's two files."""
        return self.reads["prototxt"], self.reads["caffemodel"]

    def signatures(self) -> dict[str, Any]:
        """Return `signature` of all that it reads."""
        return {key: signature(self.base, place) for key, place in self.reads.items()}

    def digests(self, known: Mapping[str, str] | None = None) -> dict[str, str | None]:
        """Return the SHA-256 of all that it reads, or of what is not `known`; None for what cannot be read."""
        known = known or {}
        return {key: known.get(key) or digest(self.base, place) for key, place in self.reads.items()}

    def key(self, digests: Mapping[str, str | None]) -> str:
        """Return what identifies its result: a digest of the files, the options, the checks and deepmerge's version."""
        asked = [VERSION, self.version, sorted(digests.items()), self.words, self.expect, dict(self.sha256)]
        return hashlib.sha256(encoded(json.dumps(asked, sort_keys=True))).hexdigest()


@dataclass(frozen=True)
class Record:
    """result.json and run.json of a model's folder."""

    result: dict[str, Any]
    run: dict[str, Any]

    @property
    def status(self) -> str:
        """CONVERTED, FAILED or SET_ASIDE."""
        return self.result["status"]

    def fits(self, task: Task, signatures: Mapping[str, Any]) -> bool:
        """Return whether this is the result of the task. A file whose signature is the same has not changed."""
        if signatures != self.run.get("signatures"):
            return False
        return self.is_of(task, self.result.get("files", {}))

    def is_of(self, task: Task, digests: Mapping[str, str | None]) -> bool:
        """Return whether this is the result of the task with these files. Only a success outlives new limits."""
        limits = self.result.get("limits", _limits(task))
        return self.result.get("key") == task.key(digests) and limits == _limits(task)


def read_record(folder: str | Path) -> Record | None:
    """Return what a folder says about itself; None if it is not there, or is none of ours."""
    found = []
    for name in (RESULT, RUN):
        try:
            found.append(json.loads(Path(folder, name).read_bytes()))
        except (OSError, ValueError, RecursionError):
            return None
    result, run = found
    if not isinstance(result, dict) or not isinstance(run, dict) or result.get("version") != VERSION:
        return None
    return Record(result, run) if isinstance(result.get("status"), str) else None


def is_foreign(folder: str | Path) -> bool:
    """Return whether there is something in a model's place that no zoo has written, such as the model itself."""
    return os.path.lexists(folder) and (os.path.islink(folder) or not _is_result(Path(folder, RESULT)))


def _is_result(file: Path) -> bool:
    """Return whether a zoo, of any version, has written the file."""
    try:
        result = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(result, dict) and {"version", "key", "status"} <= set(result)


def write_record(folder: Path, task: Task, digests: Mapping[str, str | None], more: dict[str, Any], run: dict) -> None:
    """Write result.json and run.json into a folder. more: the status, and what else result.json says."""
    result = {"version": VERSION, "name": task.name, "key": task.key(digests), "deepmerge": deepmerge.__version__}
    result |= {"files": dict(digests), **more}
    (folder / RESULT).write_bytes(encoded(report_text(result)))
    write_run(folder, run)


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Write run.json: how long it took, how much memory, and the signatures of the files."""
    write_whole(folder / RUN, report_text({"version": VERSION, **run}))


@dataclass(frozen=True)
class Failure:
    """Why a model has no result. kind: error, check, time, memory or killed. seconds: how long it took."""

    kind: str
    message: str
    seconds: float
    log: bytes = b""


def write_failure(task: Task, failure: Failure) -> None:
    """Make the model's folder one that holds the failure and its log, so that it is not tried again unasked.

    A result that is there stays if a file that it is made of cannot be had: it may be back for the next run.
    """
    signatures, known = task.signatures(), read_record(task.out)
    if None in signatures.values() and known is not None and known.status == CONVERTED:
        return
    digests = task.digests()
    status = SET_ASIDE if failure.kind == "killed" else FAILED
    said = {"kind": failure.kind, "message": failure.message}
    with staged(task.out, force=True) as folder:
        (folder / LOG).write_bytes(failure.log)
        more = {"status": status, "failure": said, "limits": _limits(task)}
        write_record(folder, task, digests, more, {"seconds": round(failure.seconds, 3), "signatures": signatures})


def _limits(task: Task) -> list[float | None]:
    return [task.seconds, task.memory]


def expectations(expect: Any) -> dict[str, Any]:
    """Return what is asked of a model as a dict, without what is not asked."""
    return {key: value for key, value in vars(expect).items() if value is not None}
