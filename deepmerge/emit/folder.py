"""Writing OUT whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deepmerge.errors import EmitError


@contextlib.contextmanager
def staged(out: str | Path, force: bool = False) -> Iterator[Path]:
    """A fresh folder beside `out` to write into, moved to `out` at the end if all went well.

    Whatever goes wrong, an existing `out` stays as it was and nothing half-written is left.
    EmitError where `out` exists and `force` is not given, or the disk refuses.
    """
    out = Path(out)
    check_free(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise _refused(out, error) from None
    try:
        yield stage
        os.chmod(stage, 0o777 & ~_umask())
        _move(stage, out)
    except OSError as error:
        raise _refused(out, error) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def check_free(out: str | Path, force: bool = False) -> None:
    """EmitError if `out` may not be written: it exists (and `force` is not given), or is no folder of ours to replace."""
    out = Path(out)
    if not out.name or out.resolve() == Path.cwd():
        raise EmitError(f"{out}: is the current directory; give a new folder's name")
    if not os.path.lexists(out):
        return
    if not force:
        raise EmitError(f"{out}: exists already; give another -o, or --force to replace it")
    if not out.is_dir() or out.is_symlink():
        raise EmitError(f"{out}: is not a folder, and --force replaces folders only")
    if any(out.iterdir()) and not (out / "report.json").exists():
        raise EmitError(f"{out}: holds files that deepmerge did not write (no report.json); --force does not replace it")


def _move(stage: Path, out: Path) -> None:
    if not out.exists():
        os.rename(stage, out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    os.rename(out, aside / "out")
    try:
        os.rename(stage, out)
    except OSError:
        os.rename(aside / "out", out)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refused(out: Path, error: OSError) -> EmitError:
    hint = {28: "free some space, or write elsewhere", 13: "write where you may", 30: "write elsewhere"}.get(error.errno or 0, "")
    return EmitError(f"{out}: cannot be written: {error.strerror or error}" + (f"; {hint}" if hint else "") + "; nothing was left behind")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
