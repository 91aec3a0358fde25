r"""Measure what merging costs in accuracy, what recovery brings back and what fine-tuning adds, in one table.

    python benchmarks/accuracy.py net.prototxt net.caffemodel --train npz:train.npz --test npz:test.npz -o runs/net \
        --recover "--minutes 20 --mirror" --finetune "--max-iter 5000" --xavier

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from support.machine import machine

from deepmerge.cli.output import table


def main() -> int:
    """Carry everything out, and write accuracy.json, accuracy.txt and table.png."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    start = {"machine": machine(), "command": shlex.join(["python", "benchmarks/accuracy.py", *sys.argv[1:]])}
    columns = make_columns(args)
    found = {**start, "seconds": {name: seconds for name, (_, seconds) in columns.items()}}
    words = [f"{name}={folder}" for name, (folder, _) in columns.items()]
    limits = ["--limit", str(args.limit)] if args.limit else []
    told = [
        *words,
        "--data",
        args.test,
        *limits,
        *shlex.split(args.table),
        "--original",
        args.prototxt,
        args.caffemodel,
    ]
    found["table"] = json.loads(deepmerge("table", *told, "--json", "--png", args.out / "table.png"))
    last = next(columns[name][0] for name in ("recovered", "least squares", "merged") if name in columns)
    found["tucker"] = [tucker(args, last, limits, calibrated) for calibrated in (False, True)] if args.tucker else []
    (args.out / "accuracy.json").write_text(json.dumps(found, indent=2) + "\n")
    text = as_text(found)
    (args.out / "accuracy.txt").write_text(text + "\n")
    print(text)
    return 0


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prototxt")
    parser.add_argument("caffemodel")
    parser.add_argument(
        "--train", required=True, metavar="SPEC", help="images to recover with (no labels) and to fine-tune with"
    )
    parser.add_argument("--test", required=True, metavar="SPEC", help="labelled images to measure with")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for all results; existing ones are kept")
    parser.add_argument("--recipe", metavar="FILE", help="plan to carry out (default: deepmerge's own)")
    parser.add_argument(
        "--convert", default="", metavar="WORDS", help="options for convert, as one argument: '--absorb lrn'"
    )
    parser.add_argument("--lsq", metavar="WORDS", help="least squares alone, with these options of recover; may be ''")
    parser.add_argument(
        "--recover", metavar="WORDS", help="recover (what least squares left), with these options; may be ''"
    )
    parser.add_argument(
        "--finetune", metavar="WORDS", help="finetune what was recovered, with these options; may be ''"
    )
    parser.add_argument(
        "--xavier",
        nargs="?",
        const="",
        metavar="WORDS",
        help="the paper's way, too: --init xavier, then finetune, or with these options",
    )
    parser.add_argument("--tucker", metavar="RANK", help="Tucker on top, untrained, by weights and by data: macs:0.5")
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N test images")
    parser.add_argument("--table", default="", metavar="WORDS", help="options for table: '--time-engine caffe'")
    return parser.parse_args()


def make_columns(args: argparse.Namespace) -> dict[str, tuple[Path, float]]:
    """Make the folders; return each column's folder, and the seconds that its command took."""
    network = [
        args.prototxt,
        args.caffemodel,
        *(["--recipe", args.recipe] if args.recipe else []),
        *shlex.split(args.convert),
    ]
    columns = {"merged": made(args.out / "merged", "convert", *network)}
    last = columns["merged"][0]
    if args.lsq is not None:
        squares = ["--data", args.train, "--stages", "lsq", *shlex.split(args.lsq)]
        columns["least squares"] = made(args.out / "least_squares", "recover", last, *squares)
        last = columns["least squares"][0]
    if args.recover is not None:
        columns["recovered"] = made(
            args.out / "recovered", "recover", last, "--data", args.train, *shlex.split(args.recover)
        )
        last = columns["recovered"][0]
    if args.finetune is not None:
        tuning = ["--data", args.train, *shlex.split(args.finetune)]
        columns["fine-tuned"] = made(args.out / "finetuned", "finetune", last, *tuning)
        if args.xavier is not None:
            tuning = ["--data", args.train, *shlex.split(args.xavier)] if args.xavier else tuning
            begun, _ = made(args.out / "xavier", "convert", *network, "--init", "xavier")
            columns["xavier, fine-tuned"] = made(args.out / "xavier_finetuned", "finetune", begun, *tuning)
    return columns


def made(folder: Path, command: str, *words: object) -> tuple[Path, float]:
    """Run a command that makes a folder; return the folder and the seconds. A folder from an earlier run is kept."""
    note = folder.with_suffix(".seconds")
    if not (folder.exists() and note.exists()):
        start = time.perf_counter()
        deepmerge(command, *words, "-o", folder)
        note.write_text(f"{time.perf_counter() - start:.1f}\n")
    return folder, float(note.read_text())


def tucker(args: argparse.Namespace, folder: Path, limits: list[str], calibrated: bool) -> dict[str, object]:
    """Decompose the final network of a conversion; return its accuracy before any training, and its MACs."""
    out = args.out / ("tucker_data" if calibrated else "tucker_weights")
    words = ["--tucker", "--rank", args.tucker, *(["--calibration", args.train] if calibrated else [])]
    made(out, "convert", folder / "deploy.prototxt", folder / "weights.caffemodel", *words)
    report = json.loads((out / "report.json").read_text())
    accuracy = json.loads(deepmerge("eval", out, "--data", args.test, *limits, "--json"))
    name = "Tucker by data" if calibrated else "Tucker by weights"
    return {
        "name": name,
        "macs": report["after"]["macs"],
        "before": report["before"]["macs"],
        "top": accuracy["networks"][-1]["top"],
    }


def deepmerge(*words: object) -> str:
    """Run a command and return what it prints."""
    print("deepmerge", shlex.join(map(str, words)), file=sys.stderr)
    done = subprocess.run([sys.executable, "-m", "deepmerge", *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def as_text(found: dict) -> str:
    """Return all that was found as text."""
    from deepmerge.cli.table import as_text as step_table

    parts = [
        found["command"],
        "\n".join(f"{key}: {value}" for key, value in found["machine"].items()),
        step_table(found["table"]),
    ]
    parts.append(
        table([(name, f"{seconds:.0f} s") for name, seconds in found["seconds"].items()], ("made", "in"), "lr")
    )
    if found["tucker"]:
        rows = [
            (r["name"], f"{r['macs'] / r['before']:.3f}", *(f"{share:.2%}" for share in r["top"].values()))
            for r in found["tucker"]
        ]
        head = ("on top, not trained", "MACs left", *(f"top-{k}" for k in found["tucker"][0]["top"]))
        parts.append(table(rows, head, "l" + "r" * (len(head) - 1)))
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
