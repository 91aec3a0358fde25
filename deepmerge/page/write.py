"""report.html, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from deepmerge.errors import EmitError
from deepmerge.out.read import Pair, read_converted
from deepmerge.page.page import Files, make_page

NAME = "report.html"


def write_page(
    folder: Path,
    file: Path | None = None,
    original: Pair | None = None,
    files: Files | None = None,
    force: bool = False,
) -> Path:
    """Write the page of what `convert` (or recover, or finetune) left in `folder`, and return where: `file`, or
    report.html in the folder. EmitError where it exists and `force` is not given, or cannot be written.
    """
    file = Path(folder, NAME) if file is None else file
    if file.is_dir():
        raise EmitError(f"{file}: is a folder; give a file's name with -o")
    if os.path.lexists(file) and not force:
        raise EmitError(f"{file}: exists already; give another name with -o, or --force to replace it")
    text = make_page(read_converted(folder, original, need_final=False), files or Files())
    try:
        _replace(file, text.encode("utf-8"))
    except OSError as error:
        raise EmitError(f"{file}: cannot be written: {error.strerror or error}") from None
    return file


def _replace(file: Path, content: bytes) -> None:
    handle, partial = tempfile.mkstemp(prefix=f".{file.name[:99]}.", suffix=".partial", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, file)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
