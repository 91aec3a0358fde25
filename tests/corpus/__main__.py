"""Read and plan the corpus, and show by kind what came of it: python -m tests.corpus [VARIANTS]."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from pathlib import Path

from deepmerge.errors import DeepmergeError
from deepmerge.formats.read import read_network
from deepmerge.graph.costs import layer_costs, shapes_of_one
from deepmerge.plan import make_plan
from deepmerge.plan.plan import Wishes
from deepmerge.text import plain_table
from tests.corpus.kinds import KINDS, Entry, entries


def outcome(entry: Entry, folder: Path) -> str:
    """Return "" for a definition that was read and planned, else the line or the traceback."""
    if entry.setup is not None:
        entry.setup(folder)
    path = folder / "net.prototxt"
    path.write_text(entry.text)
    try:
        graph = read_network(path, inputs=entry.inputs)
        layer_costs(graph, shapes_of_one(graph))
        make_plan(graph, Wishes())
    except DeepmergeError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return ""


def main() -> int:
    """Show a row for each kind; return 1 if one did not come out as it should."""
    variants = int(sys.argv[1]) if len(sys.argv) > 1 else 14
    wrong = 0
    rows = {kind: [kind, 0, 0, 0, 0.0] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        for entry in entries(variants):
            started = time.perf_counter()
            said = outcome(entry, Path(name))
            row = rows[entry.kind]
            row[1] += 1
            row[3 if said else 2] += 1
            row[4] += time.perf_counter() - started
            if bool(said) != bool(entry.refused) or entry.refused not in said:
                wrong += 1
                print(f"{entry.kind}: {(said.strip() or 'read').splitlines()[-1]}", file=sys.stderr)
    total = ["all", *(sum(row[i] for row in rows.values()) for i in range(1, 5))]
    table = [[*row[:4], f"{row[4]:.1f}"] for row in (*rows.values(), total)]
    print(plain_table(table, ("kind", "files", "read", "refused", "seconds"), "lrrrr"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
