r"""Measure int8 alone, and merged and int8: time on every engine that runs it, and accuracy.

    python benchmarks/int8.py --zoo DIR --train npz:train.npz --test npz:test.npz --recovered OUT

See README.md beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from support.machine import machine
from support.measured import ROOT, Measured
from support.sections import absent, entry, grid, measured_engines, time_of

KEEP = ROOT / "benchmarks" / "measured" / "int8"
ENGINES = "ort,ort-lrn-op,opencv,mnn"
NAMES = {"googlenet": "GoogLeNet", "squeezenet": "SqueezeNet", "alexnet": "AlexNet", "resnet50": "ResNet-50"}
GROUPS = (("googlenet", "squeezenet"), ("alexnet",), ("resnet50",))  # those timed together; the first is the base


def main() -> int:
    """Measure, and print the tables as Markdown; return 1 if a command failed."""
    args = arguments()
    measured = Measured(args.keep, {args.train: "$TRAIN", args.test: "$TEST", str(args.zoo): "$ZOO"})
    about = machine()
    parts = [grid(["machine", ""], [[key, value] for key, value in about.items()])]
    parts += [group(measured, args, names) for names in GROUPS if (args.zoo / f"{names[0]}.prototxt").exists()]
    print("\n\n".join(parts))
    return int(bool(measured.failed))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="trained networks: NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--train", required=True, metavar="SPEC", help="images to calibrate on")
    parser.add_argument("--test", required=True, metavar="SPEC", help="labelled images to measure with")
    parser.add_argument("--recovered", type=Path, metavar="OUT", help="GoogLeNet, merged and recovered")
    parser.add_argument("--images", type=int, default=500, metavar="N", help="to calibrate on (default %(default)s)")
    parser.add_argument("--limit", type=int, default=10_000, metavar="N", help="test images (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="for one engine (default %(default)s)")
    parser.add_argument("--engine", default=ENGINES, metavar="LIST", help="default %(default)s")
    parser.add_argument("--keep", type=Path, default=KEEP, metavar="DIR", help="where measurements are kept")
    return parser.parse_args()


def group(measured: Measured, args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """Measure networks that are compared with each other, and return their table."""
    rows: dict[str, tuple[Path, ...]] = {}
    for name in names:
        pair = args.zoo / f"{name}.prototxt", args.zoo / f"{name}.caffemodel"
        rows[NAMES[name]] = pair
        rows[f"{NAMES[name]}, int8"] = (int8(measured, args, name, pair),)
        if name == "googlenet" and args.recovered:
            merged = args.recovered / "deploy.prototxt", args.recovered / "weights.caffemodel"
            rows["merged, recovered"] = merged
            rows["merged, recovered, int8"] = (int8(measured, args, "recovered", merged),)
        if name == "resnet50":
            rows["ResNet-50, int8, minmax"] = (int8(measured, args, name, pair, "minmax"),)
    named = [word for label, files in rows.items() for word in (f"{label}={files[0]}", *files[1:])]
    timing = ["--engine", args.engine, "--measure", "time", "--seconds", f"{args.seconds:g}", "--json"]
    times = measured.run(f"bench {names[0]}", ["bench", *named, *timing])
    top = {label: accuracy(measured, args, label, files) for label, files in rows.items()}
    return table(rows, times["result"], top, times["error"])


def int8(
    measured: Measured, args: argparse.Namespace, name: str, pair: tuple[Path, Path], method: str = "average"
) -> Path:
    """Quantize a network without merging anything approximately; return the file."""
    out = measured.folder / f"{name}-{method}"
    images = ["--calibration", args.train, "--calibration-images", args.images, "--int8-method", method]
    words = ["convert", *pair, "--exact", "--emit", "caffe,onnx-int8", *images, "-o", out, "--force", "--json"]
    measured.run(f"convert {out.name}", words, [out / "model-int8.onnx"])
    return out / "model-int8.onnx"


def accuracy(measured: Measured, args: argparse.Namespace, label: str, files: tuple[Path, ...]) -> dict[str, float]:
    """Return top-1 and top-5; {} if they could not be measured."""
    words = ["eval", *files, "--data", args.test, "--limit", args.limit, "--json"]
    found = measured.run(f"eval {label}", words)["result"]
    return {**found["networks"][-1]["top"], "images": found["images"]} if found else {}


def table(rows: dict[str, Any], times: dict[str, Any] | None, top: dict[str, dict[str, float]], error: str) -> str:
    """Return a row for each network: its accuracy, and its time on each engine."""
    engines = measured_engines(times) if times else []
    head = ["network", "top-1", "top-5", "images", *(engine["engine"] for engine in engines)]
    lines = []
    for label in rows:
        found = top[label]
        scores = [f"{found[k]:.2%}" if k in found else "" for k in ("1", "5")]
        cells = [time_of(engine, label) for engine in engines]
        lines.append([label, *scores, f"{found['images']:,}" if found else "", *cells])
    refusals = [(engine["engine"], entry(engine, label).get("refused")) for engine in engines for label in rows]
    refused = {f"{name}: {why}" for name, why in refusals if why}
    notes = [*sorted(refused), absent(times) if times else f"times: **not measured**: {error}"]
    return "\n\n".join([grid(head, lines), *filter(None, notes)])


if __name__ == "__main__":
    raise SystemExit(main())
