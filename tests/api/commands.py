"""The small trained network's files, and what commands print and write: the API is to do the same."""

from __future__ import annotations

import json
from pathlib import Path

from deepmerge.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAIR = tuple(f"models/inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))


def command(capsys, *words):
    """What a command prints with --json."""
    main([*map(str, words), "--json"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert result["version"] == 1
    return result


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
