"""Count the layers that each target does not take: as they are, and after convert with --exact and by default.

    python benchmarks/targets.py FOLDER

FOLDER holds NAME.prototxt files; plans need no weights. Prints a Markdown table.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import deepmerge
from deepmerge.targets.names import TARGETS


def main(folder: str) -> None:
    """Print the table."""
    print("| network | target | as it is | after `--exact` | by default |")
    print("|---|---|---|---|---|")
    for file in sorted(Path(folder).glob("*.prototxt")):
        network = deepmerge.load(file)
        for target in TARGETS:
            (before,) = network.check(target)["targets"]
            found = [before["problems"]]
            for exact in (True, False):
                found.append(network.plan(exact=exact, target=target).to_dict()["target"]["problems"])
            print(f"| {file.stem} | {target} | {' | '.join(map(_told, found))} |", flush=True)


def _told(problems: list[dict]) -> str:
    kinds = Counter(one["type"] for one in problems if "only_for" not in one)
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "taken"


if __name__ == "__main__":
    main(*sys.argv[1:])
