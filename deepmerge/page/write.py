"""report.html, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from deepmerge.errors import EmitError
from deepmerge.out.read import Pair, read_converted
from deepmerge.out.staging import write_whole
from deepmerge.page.page import Files, make_page

NAME = "report.html"


def write_page(
    folder: Path,
    file: Path | None = None,
    original: Pair | None = None,
    files: Files | None = None,
    force: bool = False,
) -> Path:
    """Write the page of what `convert`, `recover` or `finetune` wrote to `folder`, and return its path.

    file: where to write it; report.html in the folder by default. EmitError if it exists and `force` is not given, or
    if it cannot be written.
    """
    file = Path(folder, NAME) if file is None else file
    if file.is_dir():
        raise EmitError(f"{file}: is a folder; give a file's name with -o")
    if os.path.lexists(file) and not force:
        raise EmitError(f"{file}: exists already; give another name with -o, or --force to replace it")
    text = make_page(read_converted(folder, original, need_final=False), files or Files())
    write_whole(file, text)
    return file
