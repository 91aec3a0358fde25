"""Compare Tucker by the weights and by the data: top-1 at equal MACs, before any training.

    python benchmarks/tucker.py --zoo DIR --train cifar10_train.npz --test cifar10_test.npz

Nothing else is merged, unless --merged is given: then Tucker works on what the default steps leave.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from support.machine import machine

from deepmerge.cli.output import table
from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.data import Loading, open_loader
from deepmerge.formats.read import read_network
from deepmerge.graph import Graph
from deepmerge.graph.costs import summary
from deepmerge.measure.accuracy import Settings, measure
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan, run_recipe

NETWORKS = ("inception_mini", "alexnet", "squeezenet", "resnet50", "googlenet")
HEAD = ("network", "Tucker", "by", "MACs", "left", "layers", "top-1", "seconds")


def main() -> None:
    """Measure, and print the rows and the table."""
    args = arguments()
    rows: list[tuple] = []
    for name in args.networks:
        for row in versions(name, args):
            rows.append(row)
            print("  ".join(map(str, row)), flush=True)
    print("\n" + table(rows, HEAD, "lllrrrrr"))
    if args.json:
        found = [dict(zip(HEAD, row, strict=True)) for row in rows]
        args.json.write_text(json.dumps({"machine": machine(), "figures": found}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--train", required=True, help="npz file that the calibration images come from")
    parser.add_argument("--test", required=True, help="npz file with labels")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument(
        "--ranks", nargs="+", default=("macs:0.5", "macs:0.35"), help="--rank of convert (default %(default)s)"
    )
    parser.add_argument("--images", type=int, default=500, help="calibration images (default %(default)s)")
    parser.add_argument("--limit", type=int, default=2000, help="test images (default %(default)s)")
    parser.add_argument("--merged", action="store_true", help="carry out the default steps first")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime (default %(default)s)")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def versions(name: str, args: argparse.Namespace):
    """Yield a row for the network without Tucker, and two for each rank."""
    prototxt = args.zoo / f"{name}.prototxt"
    original = read_network(prototxt, args.zoo / f"{name}.caffemodel")
    before = summary(original)["macs"]
    images = CalibrationImages(f"npz:{args.train}", prototxt, args.images)
    images.prepare(original)
    absorb = Options().absorb if args.merged else ()
    for rank in ("", *args.ranks):
        for calibration in (None, images) if rank else (None,):
            start = time.perf_counter()
            graph, wishes = (
                original.copy(),
                Wishes(tucker=bool(rank), options=Options(rank=rank or Options().rank, absorb=absorb)),
            )
            plan = make_plan(graph, wishes, calibration)
            for _ in run_recipe(graph, plan.recipe, calibration=calibration):
                pass
            seconds = time.perf_counter() - start
            made = sum(layer.made_by == "decompose_tucker" for layer in graph.layers)
            macs, top = summary(graph)["macs"], accuracy(graph, prototxt, args)
            by = "" if not rank else "weights" if calibration is None else "data"
            yield name, rank, by, f"{macs / 1e6:,.1f} M", f"{macs / before:.1%}", made, f"{top:.1%}", f"{seconds:.0f}"


def accuracy(graph: Graph, prototxt: Path, args: argparse.Namespace) -> float:
    """Return top-1, 0 to 1."""
    loader, _ = open_loader(f"npz:{args.test}", graph, prototxt, 20, loading=Loading(limit=args.limit))
    found = measure([graph], loader, Settings((1,), threads=args.threads))
    return found["networks"][0]["top"][1]


if __name__ == "__main__":
    main()
