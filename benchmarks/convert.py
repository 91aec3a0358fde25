"""Measure converted networks: exactness, speed, size and accuracy, beside DeepRebirth's figures.

    python benchmarks/convert.py --zoo DIR --data cifar10_test.npz --caffe

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from support.machine import machine, measured_command
from support.networks import VARIANTS, Network, converted, read_images
from support.verdicts import verdicts

from deepmerge.cli.output import table
from deepmerge.engines import engine
from deepmerge.graph.costs import summary
from deepmerge.passes.support.base import Options

IMAGES, ACCURACY_BATCH = 32, 25


def main() -> int:
    """Measure, print each table, and return 1 if a figure is missed."""
    args = arguments()
    result = {
        "machine": machine(),
        "engine": "caffe" if args.caffe else "ort",
        "rank": args.rank,
        "fast_rank": args.fast_rank,
    }
    show("machine", [(key, value) for key, value in result["machine"].items()])

    # first, while this process is small: a child's peak memory begins with its parent's
    result["commands"] = commands(args.zoo)
    show("commands", [(k, f"{v['seconds']:.2f} s", f"{v['peak_mb']:.0f} MB") for k, v in result["commands"].items()])

    networks = {name: converted(args.zoo, name, args.rank, args.fast_rank) for name in VARIANTS}
    result["costs"] = {name: {n.title: summary(n.graph) for n in all_of} for name, all_of in networks.items()}
    show(
        "size",
        list(size_rows(result["costs"])),
        ("network", "version", "layers", "MACs", "storage", "unique activations"),
        "llrrrr",
    )

    result["outputs"] = {name: outputs(all_of, args) for name, all_of in networks.items()}
    show(
        "outputs",
        list(output_rows(result["outputs"])),
        ("network", "version", "against the original", "ONNX against Caffe", "top-1"),
        "llrrr",
    )

    result["seconds"] = {name: times(all_of, networks, args) for name, all_of in networks.items()}
    show(
        "time",
        list(time_rows(result["seconds"])),
        ("network", "version", "median ms", "fastest", "slowest", "times as fast"),
        "llrrrr",
    )

    judged = verdicts(result)
    result["verdicts"] = [list(row) for row in judged]
    show("verdicts", judged, ("claim", "paper", "here", "wanted", ""), "lrrrl")
    result["load at the end"] = os.getloadavg()[0]
    print(f"\nload at the end: {result['load at the end']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row[-1] != "FAILS" for row in judged) else 1


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, metavar="DIR", help="NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--data", type=Path, required=True, metavar="NPZ", help="the test images and their labels")
    parser.add_argument(
        "--caffe", action="store_true", help="run and time the networks in real Caffe, not in ONNX Runtime"
    )
    parser.add_argument("--repeat", type=int, default=15, help="timed rounds (default 15)")
    parser.add_argument(
        "--accuracy", type=int, default=500, metavar="N", help="test images for top-1 (default 500, 0: none)"
    )
    parser.add_argument("--rank", default=Options().rank, help="--rank of --tucker (default %(default)s)")
    parser.add_argument(
        "--fast-rank",
        default="ratio:0.5",
        help="--rank of the version that is compared with SqueezeNet (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    return parser.parse_args()


def commands(zoo: Path) -> dict[str, dict[str, float]]:
    """Return wall clock and peak memory of the commands as a user runs them, each the median of three."""
    pair = [str(zoo / f"googlenet.{ending}") for ending in ("prototxt", "caffemodel")]
    with tempfile.TemporaryDirectory() as folder:
        convert = ["convert", *pair, "-o", str(Path(folder, "out")), "--force", "-q"]
        return {
            "convert GoogLeNet, all steps": measured_command(convert),
            "--help": measured_command(["--help"]),
        }


def outputs(versions: list[Network], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return how far each version is from the original, and ONNX Runtime from real Caffe; and top-1."""
    first = versions[0]
    images, labels = read_images(args.data, max(IMAGES, args.accuracy), first.size)
    found: dict[str, dict[str, float]] = {}
    original = None
    for one in versions:
        print(f"running {one.name}, {one.title}", file=sys.stderr)
        row = found[one.title] = {}
        with engine("ort").load(one.graph, threads=os.cpu_count() or 1) as ort:
            scores = forward(ort, images)
        here = scores[:IMAGES]
        if args.caffe:
            with engine("caffe").load(one.graph) as caffe:
                here = forward(caffe, images[:IMAGES], batch=8)
            row["onnx"] = apart(here, scores[:IMAGES])
        original = here if original is None else original
        row["difference"] = apart(original, here)
        if args.accuracy:
            best = scores[: args.accuracy].reshape(args.accuracy, -1).argmax(1)
            row["top1"] = float((best == labels[: args.accuracy]).mean())
    return found


def forward(session, images: np.ndarray, batch: int = ACCURACY_BATCH) -> np.ndarray:
    """Return the output for all images, batch by batch."""
    (name,), (output,) = session.inputs, session.outputs
    parts = [session.forward({name: images[i : i + batch]})[output] for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def apart(wanted: np.ndarray, found: np.ndarray) -> float:
    """Return the greatest difference, as a share of the output's range."""
    return float(np.abs(wanted.astype(np.float64) - found).max() / (wanted.max() - wanted.min()))


def times(
    versions: list[Network], networks: dict[str, list[Network]], args: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the seconds of each round, one image, one thread; all versions (and GoogLeNet's rival) take turns."""
    rivals = networks["squeezenet"][:1] if versions[0].name == "googlenet" else []
    chosen = engine("caffe" if args.caffe else "ort")
    sessions = {}
    try:
        for one in [*versions, *rivals]:
            title = one.title if one in versions else one.name
            sessions[title] = chosen.load(one.graph, threads=1)
            forward(sessions[title], read_images(args.data, 1, one.size)[0])
        for session in sessions.values():  # warm up
            session.time_once()
            session.time_once()
        turns = [[session.time_once() for session in sessions.values()] for _ in range(args.repeat)]
        return {name: list(times) for name, times in zip(sessions, zip(*turns, strict=True), strict=True)}
    finally:
        for session in sessions.values():
            session.close()


def size_rows(costs: dict):
    """Yield the rows of the table of sizes."""
    for name, versions in costs.items():
        before = next(iter(versions.values()))
        for title, cost in versions.items():
            yield (
                name,
                title,
                cost["layers"],
                f"{cost['macs'] / 1e6:,.0f} M ({cost['macs'] / before['macs']:.1%})",
                f"{cost['storage_bytes'] / 1e6:.2f} MB ({cost['storage_bytes'] / before['storage_bytes']:.1%})",
                f"{unique(cost) / 1e6:.2f} MB ({unique(cost) / unique(before):.1%})",
            )


def unique(cost: dict) -> int:
    """Return the bytes of all distinct blobs."""
    return cost["activation_bytes"]["unique"]


def output_rows(found: dict):
    """Yield the rows of the table of outputs."""
    for name, versions in found.items():
        for title, row in versions.items():
            onnx = f"{row['onnx']:.1e}" if "onnx" in row else "–"
            top1 = f"{row['top1']:.1%}" if "top1" in row else "–"
            yield name, title, f"{row['difference']:.1e}", onnx, top1


def time_rows(seconds: dict):
    """Yield the rows of the table of times."""
    for name, versions in seconds.items():
        first = statistics.median(next(iter(versions.values())))
        for title, rounds in versions.items():
            middle = statistics.median(rounds)
            yield (
                name,
                title,
                f"{middle * 1e3:.2f}",
                f"{min(rounds) * 1e3:.2f}",
                f"{max(rounds) * 1e3:.2f}",
                f"{first / middle:.2f}",
            )


def show(title: str, rows: list, head: tuple = (), right: str = "") -> None:
    """Print a table under its title."""
    print(f"\n== {title}\n\n{table(rows, head, right)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
