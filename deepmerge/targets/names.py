"""The targets' names, for whoever needs no more."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
TARGETS = tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))
