"""Measure by how much LRN written out makes faster what runs on ONNX Runtime: eval, calibration, lsq.

    python benchmarks/lrn.py --zoo DIR --data npz:train.npz

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from support.machine import machine
from support.sections import grid

FORMS = ("op", "written-out")
WHAT = ("eval", "calibration", "lsq")


def main() -> int:
    """Run each work in both forms in turn, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="trained networks: NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--data", required=True, metavar="SPEC", help="images")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default %(default)s")
    parser.add_argument("--networks", default="alexnet,googlenet", metavar="LIST", help="default %(default)s")
    parser.add_argument("--work", nargs=4, metavar="WORD", help=argparse.SUPPRESS)  # what a child process does
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(args, *args.work)))
        return 0
    rows = []
    for network in args.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            pair = [str(args.zoo / f"{network}.{ending}") for ending in ("prototxt", "caffemodel")]
            subprocess.run(
                [sys.executable, "-m", "deepmerge", "convert", *pair, "-o", f"{folder}/out", "-q"], check=True
            )
            rows += [row(args, network, what, folder) for what in WHAT]
    print(grid(["machine", ""], [[key, value] for key, value in machine().items()]), end="\n\n")
    print(grid(["network", "work", "as the operator", "written out", "times as fast"], rows))
    return 0


def row(args: argparse.Namespace, network: str, what: str, folder: str) -> list[str]:
    """Return the medians of both forms, which take turns, each in a process of its own."""
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for turn in range(args.rounds):
        for form in FORMS if turn % 2 == 0 else FORMS[::-1]:
            command = [sys.executable, __file__, *sys.argv[1:], "--work", network, what, form, folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds[form].append(json.loads(done.stdout))
    slow, fast = (statistics.median(seconds[form]) for form in FORMS)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    return [network, what, f"{slow:.1f} s", f"{fast:.1f} s", spread]


def work(args: argparse.Namespace, network: str, what: str, form: str, folder: str) -> float:
    """Do the work, with LRN in this form wherever ONNX Runtime runs; return the processor's seconds."""
    import time

    import deepmerge
    from deepmerge.convert.calibrate import CalibrationImages
    from deepmerge.engines.ort import OrtEngine

    OrtEngine.lrn = form
    pair = [args.zoo / f"{network}.{ending}" for ending in ("prototxt", "caffemodel")]
    start = time.process_time()  # of all threads; other programs on the machine do not count
    if what == "eval":
        deepmerge.evaluate(tuple(pair), args.data, limit=args.images, threads=1)
    elif what == "calibration":
        images = CalibrationImages(args.data, pair[0], args.images)
        graph = deepmerge.load(*pair).graph
        images.prepare(graph)
        images.moments(graph, [layer.name for layer in graph.layers])
    else:
        out = Path(folder, f"{form}-{time.time_ns()}")
        deepmerge.recover(Path(folder, "out"), args.data, out, stages=["lsq"], limit=args.images, threads=1)
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
