"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from deepmerge.errors import EmitError
from deepmerge.names import encoded
from deepmerge.signals import held_off
from deepmerge.temporary import file_beside, folder_beside, remove_leftovers, umask

_HINTS = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "your quota is used up; free some space, or write elsewhere",
    errno.EACCES: "give a folder in which you may write",
    errno.EPERM: "give a folder in which you may write",
    errno.EROFS: "the disk is read-only; write elsewhere",
}
_TRIES = 100  # to make a folder whose parent another run deletes at the same time
_WRITTEN = ("deploy.prototxt", "weights.caffemodel", "train_val.prototxt", "report.json")  # by a conversion


@contextlib.contextmanager
def staged(out: str | Path, force: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `out`, and move it to `out` at the end if all went well.

    If anything fails, an existing `out` stays unchanged and nothing half-written is left.
    EmitError if `out` exists and `force` is not given, or if the disk refuses.
    """
    out = Path(out)
    check_free(out, force)
    made = [p for p in out.parents if not os.path.lexists(p)]  # the nearest first
    done = False
    try:
        with contextlib.ExitStack() as stack:
            stage = _stage(out, stack)
            yield stage
            os.chmod(stage, 0o777 & ~umask())
            _move(stage, out, force)
            done = True
    except OSError as error:
        raise _refused(out, error) from None
    finally:
        for folder in [] if done else made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _stage(out: Path, stack: contextlib.ExitStack) -> Path:
    """Make the folder beside `out`, and the folders above it that are missing.

    Another run that fails deletes the folders it made, if they are empty: perhaps between the two.
    """
    tries = 0
    while True:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            return stack.enter_context(folder_beside(out, out.parent, ".partial"))
        except FileNotFoundError:
            tries += 1
            if tries == _TRIES:
                raise


@contextlib.contextmanager
def scratch(out: str | Path) -> Iterator[Path]:
    """Yield a temporary folder on the disk of `out`, and delete it at the end. EmitError if the disk refuses."""
    out = Path(out)
    place = next(parent for parent in out.absolute().parents if parent.exists())
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_beside(out, place, ".scratch"))
        except OSError as error:
            raise _refused(out, error) from None
        yield folder


def check_free(out: str | Path, force: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Raise EmitError if `out` may not be written: it exists and `force` is not given, or must not be replaced.

    What killed runs have left beside it is deleted; an `out` that one was about to replace comes back.
    inputs: files and folders that are read. An `out` that holds one must not be replaced, unless a conversion wrote it.
    """
    out = Path(out)
    remove_leftovers(out, out.parent)
    try:
        reason, remedy = _taken(out, force)
    except OSError as error:
        raise _refused(out, error) from None
    if reason:
        raise EmitError(f"{out}: {reason}", file=out, remedy=remedy)
    _check_kept(out, inputs)


def _check_kept(out: Path, inputs: Iterable[str | Path]) -> None:
    """Raise EmitError if replacing `out` would delete what is read."""
    try:
        held = next((file for file in inputs if _holds(out, Path(file))), None)
    except OSError as error:
        raise _refused(out, error) from None
    if held is not None:
        raise EmitError(f"{out}: holds {held}, which --force would delete", file=out, remedy="give another folder")


def _holds(out: Path, file: Path) -> bool:
    """Return whether a file in `out` would be lost with it; what an earlier conversion wrote may be converted again."""
    inside = os.path.exists(file) and out.resolve() in (file.resolve(), *file.resolve().parents)
    return inside and not ((out / "report.json").is_file() and file.name in _WRITTEN)


def check_outside(out: str | Path, folder: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise EmitError if `out` is to be inside `folder`, which is copied into it, or holds what is read.

    inputs: see check_free.
    """
    if Path(folder).resolve() in Path(out).resolve().parents:
        text = f"{out}: lies in {folder}, which is copied"
        raise EmitError(text, file=out, remedy="give a folder outside of it")
    _check_kept(Path(out), [Path(folder, "report.json"), *inputs])


def _taken(out: Path, force: bool) -> tuple[str, str]:
    """Return why `out` may not be written, and what the user can do; "" for none."""
    if not out.name or Path.cwd().is_relative_to(out.resolve()):
        return "is the current folder, or holds it", "give a new folder's name"
    if not os.path.lexists(out):
        return "", ""
    if not force:
        return "exists already", "give another folder, or --force to replace it"
    if not out.is_dir() or out.is_symlink():
        return "is not a folder, and --force replaces folders only", ""
    if out.resolve() == Path.home() or os.path.ismount(out):
        return "is a home folder or a whole disk, and --force replaces neither", ""
    return "", ""


def _move(stage: Path, out: Path, force: bool) -> None:
    """Replace `out` by `stage`. The old folder is deleted last, and comes back if the move fails."""
    reason, remedy = _taken(out, force)
    if reason:  # another run may have written it meanwhile
        raise _unwritten(out, reason, remedy)
    if not out.exists():
        os.rename(stage, out)
        return
    with folder_beside(out, out.parent, ".old") as aside, held_off():
        os.rename(out, aside / out.name)
        os.rename(stage, out)


def _refused(out: Path, error: OSError) -> EmitError:
    return _unwritten(out, f"cannot be written: {error.strerror or error}", _HINTS.get(error.errno or 0, ""))


def _unwritten(out: Path, reason: str, remedy: str) -> EmitError:
    """Return the error whose line ends by saying that nothing was written."""
    if not remedy:
        return EmitError(f"{out}: {reason}; nothing was written", file=out)
    return EmitError(f"{out}: {reason}", file=out, remedy=f"{remedy}; nothing was written")


@contextlib.contextmanager
def replacing(file: str | Path, aside: str | Path | None = None) -> Iterator[Path]:
    """Yield a path to write to, and move what was written to `file` at the end if all went well.

    If anything fails, an existing `file` stays unchanged and nothing half-written is left. OSError if the disk refuses.
    aside: the path to write to; by default one that is not taken, beside `file`.
    """
    with file_beside(Path(file)) if aside is None else _deleted(Path(aside)) as partial:
        yield partial
        os.replace(partial, file)


@contextlib.contextmanager
def _deleted(file: Path) -> Iterator[Path]:
    """Yield a path, and delete the file there at the end."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def write_whole(file: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as `encoded` gives it. EmitError if the disk refuses.

    A link stays one: the file that it leads to is written. A device or a pipe, such as /dev/stdout, is written to.
    """
    file, data = Path(file), content if isinstance(content, bytes) else encoded(content)
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            file.write_bytes(data)
            return
        with replacing(os.path.realpath(file)) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise _refused(file, error) from None
