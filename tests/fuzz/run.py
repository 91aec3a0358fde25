"""Run the fuzz targets one after the other, and show the results. Exit code 1 if there is a finding.

python -m tests.fuzz.run --seconds 600 --findings fuzz-findings
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TARGETS = ("prototxt", "caffemodel", "names")
LIMITS = ("-rss_limit_mb=512", "-timeout=1", "-max_len=8192", "-print_final_stats=1")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # every input is written as a file
MOST = 5  # findings after which a target is not started again


class Result(NamedTuple):
    """The results of one target."""

    target: str
    seconds: float
    executions: int
    findings: list[str]


def fuzz(target: str, seconds: float, findings: Path) -> Result:
    """Run a target for this many seconds. It ends at each finding, and is started again for the remaining time."""
    folder = findings / target
    folder.mkdir(parents=True, exist_ok=True)
    before, executions, started = set(folder.iterdir()), 0, time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        grown = shutil.copytree(HERE / "corpus" / target, Path(scratch, "corpus"))
        environment = os.environ | {"TMPDIR": scratch}
        while (left := seconds - (time.monotonic() - started)) >= 1:
            command = [
                sys.executable,
                "-m",
                f"tests.fuzz.fuzz_{target}",
                *LIMITS,
                f"-max_total_time={int(left)}",
                f"-artifact_prefix={folder}/",
                str(grown),
            ]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                cwd=HERE.parents[1],
            )
            executions += sum(map(int, re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)))
            new = set(folder.iterdir()) - before
            if done.returncode:
                print("\n".join(done.stdout.splitlines()[-60:]), flush=True)
            if done.returncode and not new:
                raise SystemExit(f"the target {target!r} could not be run; see above")
            if not done.returncode or len(new) >= MOST:
                break
    new = sorted(path.name for path in set(folder.iterdir()) - before)
    return Result(target, time.monotonic() - started, executions, new)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where inputs that fail go")
    parser.add_argument("targets", nargs="*", default=TARGETS, help=f"of {', '.join(TARGETS)}; all by default")
    options = parser.parse_args()
    results = [fuzz(target, options.seconds / len(options.targets), options.findings) for target in options.targets]
    total = Result("all", *(sum(r[i] for r in results) for i in (1, 2)), [name for r in results for name in r.findings])
    print(f"{'target':12}{'seconds':>10}{'executions':>14}{'findings':>10}")
    for one in (*results, total):
        print(f"{one.target:12}{one.seconds:10.0f}{one.executions:14,}{len(one.findings):10}")
    for one in results:
        for name in one.findings:
            print(f"finding: {options.findings / one.target / name}")
    return bool(total.findings)


if __name__ == "__main__":
    sys.exit(main())
