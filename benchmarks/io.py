"""Measure how fast a large caffemodel is inspected and converted, beside cp and protobuf.

    python benchmarks/io.py [--folder DIR] [--rounds 5] [--json FILE]

VGG-16's shapes with random weights, made in DIR (default: a temporary folder; some 2 GB). In every round cp, deepmerge
and protobuf take turns, each after a warm read. protobuf does what scripts do: parse, serialise, write.
Exit code 1 if a figure is missed. Run it on a quiet machine: cp needs half a core, a conversion two.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.machine import machine

from deepmerge.cli.output import table

INSPECT_SECONDS, COPIES, MEMORY = 0.6, 2.5, 1.4  # the limits
_SHA256 = (
    "import hashlib, mmap, sys; file = open(sys.argv[1], 'rb'); "
    "hashlib.sha256(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).digest()"
)
_PROTOBUF = (
    "import sys; from deepmerge.formats import schema; "
    "net = schema.message_class('NetParameter').FromString(open(sys.argv[1], 'rb').read()); "
    "open(sys.argv[2], 'wb').write(net.SerializeToString())"
)


def main() -> int:
    """Measure, print each table, and return 1 if a figure is missed."""
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="deepmerge-io-") as folder:
        here = Path(folder)
        subprocess.run(
            [sys.executable, Path(__file__).with_name("vgg16.py"), here], check=True
        )  # in a process of its own, for its memory
        size = (here / "vgg16.caffemodel").stat().st_size
        rounds = [_round(here) for _ in range(args.rounds)]
    result = {"machine": machine(), "bytes": size, "rounds": rounds}
    _show("machine", [(key, value) for key, value in result["machine"].items()])
    _show(
        f"{size / 1e6:.0f} MB",
        _rows(rounds, size),
        ("", "seconds", "fastest", "times cp", "peak MB", "times the file"),
        "lrrrrr",
    )
    judged = _verdicts(rounds, size)
    _show("verdicts", judged, ("", "here", "wanted", ""), "lrrl")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row[-1] == "ok" for row in judged) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work; on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def _round(here: Path) -> dict[str, tuple[float, float]]:
    """Run each command once; return its seconds, and its peak resident memory in bytes."""
    pair, out, copy = [here / "vgg16.prototxt", here / "vgg16.caffemodel"], here / "out", here / "copy"
    deepmerge = [sys.executable, "-m", "deepmerge"]
    commands = {
        "cp": ["cp", pair[1], copy],
        "deepmerge inspect": [*deepmerge, "inspect", *pair],
        "deepmerge convert --exact": [*deepmerge, "convert", *pair, "--exact", "-o", out],
        "SHA-256 alone": [sys.executable, "-c", _SHA256, pair[1]],  # report.json has it
        "protobuf": [sys.executable, "-c", _PROTOBUF, pair[1], copy],
    }
    figures = {}
    for name, command in commands.items():
        copy.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        os.sync()  # an earlier command's writes must not count for this one
        _read(pair[1])
        figures[name] = _timed(command)
    return figures


def _read(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def _timed(command: list) -> tuple[float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def _of(rounds: list, name: str) -> tuple[list[float], float]:
    """Return the seconds of all rounds, and the greatest memory."""
    return [one[name][0] for one in rounds], max(one[name][1] for one in rounds)


def _times_cp(rounds: list, name: str) -> float:
    return statistics.median(one[name][0] / one["cp"][0] for one in rounds)


def _rows(rounds: list, size: int) -> list[tuple]:
    rows = []
    for name in rounds[0]:
        seconds, peak = _of(rounds, name)
        times = f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", f"{_times_cp(rounds, name):.2f}"
        rows.append((name, *times, f"{peak / 1e6:.0f}", f"{peak / size:.2f}"))
    return rows


def _verdicts(rounds: list, size: int) -> list[tuple]:
    seconds, _ = _of(rounds, "deepmerge inspect")
    _, peak = _of(rounds, "deepmerge convert --exact")
    figures = (
        ("inspect, seconds", statistics.median(seconds), INSPECT_SECONDS),
        ("convert --exact, times cp", _times_cp(rounds, "deepmerge convert --exact"), COPIES),
        ("convert --exact, peak memory, times the file", peak / size, MEMORY),
    )
    return [
        (what, f"{here:.2f}", f"at most {wanted}", "ok" if here <= wanted else "MISSED")
        for what, here, wanted in figures
    ]


def _show(title: str, rows: list, head=(), right: str = "") -> None:
    print(f"\n{title}\n\n{table(rows, head, right)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
