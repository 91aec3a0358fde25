"""Checkpoints: what a run needs to continue after it was killed. Each is written aside and moved into place.

A checkpoint is one file, FOLDER/state.npz: arrays by name, and `meta`, which is JSON. Reading it needs no PyTorch and
executes nothing. Beside it may lie what a run can make again, in files named *.views.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepmerge.errors import DeepmergeError, TrainingError
from deepmerge.out.staging import replacing
from deepmerge.train.shared.guards import writing

_VERSION = 8  # of what recover and finetune save
_META = "meta"
_FILE = "state.npz"


class Paused(Exception):  # noqa: N818  # not an error
    """The time of --stop-after is over, and everything is in the checkpoint."""


def checkpoint_folder(out: Path) -> Path:
    """Return where a run that will write `out` keeps its checkpoint; it is deleted at the end of the run."""
    return out.with_name(f"{out.name}.checkpoint")


def digest_of(files: Sequence[Path]) -> str:
    """Return one SHA-256 of several files, for a checkpoint's job."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


class Saved(NamedTuple):
    """A checkpoint's content: arrays by name, and JSON values."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class Checkpoint:
    """The checkpoint of one job in a folder of its own, which the first `save` makes.

    job: everything that must be the same for a checkpoint to fit: the name that the user knows → a JSON value.
    """

    def __init__(self, folder: str | Path, job: Mapping[str, Any]):
        self.folder = Path(folder)
        self._job = json.loads(json.dumps({"the checkpoint's version": _VERSION, **job}))
        self._kept = ""  # what was saved last

    @contextlib.contextmanager
    def mentioned(self) -> Iterator[None]:
        """Add to any DeepmergeError raised inside where the checkpoint is, if there is one."""
        try:
            yield
        except DeepmergeError as error:
            if self._kept and self.folder.exists():
                error.args = (f"{error}; the checkpoint of {self._kept} is kept in {self.folder}",)
            raise

    def load(self) -> Saved | None:
        """Return the last checkpoint, None if there is none.

        TrainingError where the folder holds something else, or the checkpoint of another job.
        """
        path = self.folder / _FILE
        if not path.exists():
            if self.folder.exists() and (
                not self.folder.is_dir() or any(not _ours(file) for file in self.folder.iterdir())
            ):
                text = f"{self.folder}: needed for checkpoints, but contains other files"
                raise TrainingError(text, remedy="move or delete it")
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                meta = json.loads(file[_META].tobytes())
                arrays = {name: file[str(number)] for number, name in enumerate(meta.pop("arrays", ()))}
            job, what = meta.pop("job"), meta.pop("what")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            text = f"{path}: is not a checkpoint, or is damaged ({error})"
            raise TrainingError(text, remedy=self._start_again) from None
        if job != self._job:
            text = f"{self.folder}: is the checkpoint of another run: {_difference(job, self._job)}"
            raise TrainingError(text, remedy=self._start_again)
        self._kept = what
        return Saved(arrays, meta)

    def save(self, what: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Replace the checkpoint by a new one. what: where the run is, for errors.

        If this fails, on a full disk for example, that is a TrainingError, and the last checkpoint stays.
        """
        # names are in the text, and the zip's members have numbers: a layer's name may have bytes that no member may
        text = json.dumps({**meta, "job": self._job, "what": what, "arrays": list(arrays)}).encode()
        numbered = {str(number): array for number, array in enumerate(arrays.values())}
        file = self.folder / _FILE
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(file, file.with_name(f"{_FILE}.partial")) as aside, open(aside, "wb") as stream:
                np.savez(stream, **{_META: np.frombuffer(text, np.uint8)}, **numbered)
                stream.flush()
                os.fsync(stream.fileno())
            _sync_folder(self.folder)
        self._kept = what

    def remove(self) -> None:
        """Delete the checkpoint, at the end of a run."""
        if (self.folder / _FILE).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _start_again(self) -> str:
        return f"delete {self.folder} to start again"


def _ours(file: Path) -> bool:
    return file.name.startswith(_FILE) or file.suffix == ".views"


def _difference(job: Any, mine: Mapping[str, Any]) -> str:
    """Return the first difference, before and now."""
    job = job if isinstance(job, dict) else {}
    name = next((name for name in {**mine, **job} if job.get(name) != mine.get(name)), "")
    return f"{name} was {_shown(job.get(name))}, and is {_shown(mine.get(name))} now"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
