"""Run commands that measure, and keep what they print as JSON, so that a stopped run continues."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Measured:
    """The folder of measurements. shown: text → what replaces it wherever a command or a result is shown."""

    def __init__(self, folder: Path, shown: dict[str, str]):
        self.folder, self.shown = folder, {**shown, f"{ROOT}/": ""}
        folder.mkdir(parents=True, exist_ok=True)
        self.failed: dict[str, dict[str, Any]] = {}  # tried once a run
        self.conversions: list[dict[str, Any]] = []

    def run(
        self, name: str, words: Sequence[object], makes: Sequence[Path] = (), script: bool = False
    ) -> dict[str, Any]:
        """Run `deepmerge WORDS` (script: `python WORDS`), or return what an earlier run of it found.

        A result is kept while the command stays the same and the files that it `makes` are there. An error is not kept.

        Returns
        -------
        dict
            words, command, date, seconds, and `result`, the command's JSON; or None and `error`, its last line.
        """
        words, path = [str(word) for word in words], self.folder / f"{name}.json"
        if name in self.failed:
            return self.failed[name]
        if path.exists() and all(made.exists() for made in makes):
            kept = json.loads(path.read_text())
            if kept["words"] == words:
                return kept
        program = ["python"] if script else ["deepmerge"]
        print(self.shortened(shlex.join([*program, *words])), file=sys.stderr, flush=True)
        found = {
            "words": words,
            "command": self.command([*program, *words]),
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "error": None,
        }
        start = time.perf_counter()
        python = [sys.executable] if script else [sys.executable, "-m", "deepmerge"]
        done = subprocess.run([*python, *words], cwd=ROOT, capture_output=True, text=True)
        found |= {"seconds": round(time.perf_counter() - start, 1), "result": _result(done.stdout)}
        if done.returncode and (
            not script or done.stderr
        ):  # a script that says nothing has found what it does not like
            found |= {
                "result": None,
                "error": self.shortened((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]),
            }
            self.failed[name] = found
            return found
        half = path.with_suffix(".half")
        half.write_text(json.dumps(found, indent=1) + "\n")
        half.replace(path)
        return found

    def shortened(self, text: str) -> str:
        """Return a text with the names in place of this machine's paths."""
        for long, short in self.shown.items():
            text = text.replace(long, short)
        return text

    def command(self, words: Sequence[str]) -> str:
        """Return a command as a reader can type it: with $ZOO, $DATA and $RECOVERED, and DIR for other folders."""
        plain = [re.sub(r"(^|[=:])/(?:[^/]+/)*([^/]+)$", r"\1DIR/\2", self.shortened(word)) for word in words]
        return " ".join(word if "$" in word else shlex.quote(word) for word in plain)


def _result(text: str) -> Any:
    """Return JSON as it is, any other text as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip() or None
