"""Choose a network's merges at several speeds, and compare with the best uniform plan of the same speed.

    python benchmarks/frontier.py NET.prototxt NET.caffemodel --data npz:train.npz --engine caffe \
        --measurements FILE --speedups 1.5,2,2.5,3,3.5,4,4.5 --write recipes/

A uniform plan takes every merge, at one width and with one kernel. All plans are measured whole: their time against
the original's, and the answers of the network, fitted quickly, against the original's on images that were not fitted
on. Then predicted losses are compared with measured ones. Recipes are written for `deepmerge convert --recipe`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scipy.stats import spearmanr
from support.machine import machine

import deepmerge
from deepmerge.choose.frontier import Point, Whole
from deepmerge.choose.goal import Goal, choose
from deepmerge.choose.knapsack import Price, total
from deepmerge.choose.plans import Plans
from deepmerge.cli.output import table
from deepmerge.passes.merge_branches import WIDTHS
from deepmerge.passes.support.option_values import KERNELS
from deepmerge.plan.region_choices import LEAVE, Choice

HEAD = ("plan", "wanted", "times as fast", "ms", "agreement", "loss", "predicted loss")


def main() -> None:
    """Measure, and print the tables."""
    args = _arguments()
    network = deepmerge.load(args.prototxt, args.caffemodel)
    frontier = network.frontier(args.data, engine=args.engine, measurements=args.measurements, images=args.images)
    plans, rows, wholes = Plans(frontier.study), [], []
    uniform = {name: plans.whole(point) for name, point in uniform_plans(plans).items()}
    for speedup in args.speedups:
        chosen = choose(plans, Goal(speedup=speedup))
        whole = plans.whole(chosen.whole.point)
        wholes.append(whole)
        rows.append(_row("chosen" if chosen.kept else "fastest", speedup, plans, whole))
        fast = {name: one for name, one in uniform.items() if plans.original_ms / one.ms >= 0.97 * speedup}
        if fast:
            best = min(fast, key=lambda name: fast[name].loss)
            rows.append(_row(f"uniform, {best}", speedup, plans, fast[best]))
        if args.write:
            args.write.mkdir(parents=True, exist_ok=True)
            (args.write / f"chosen-{speedup:g}.toml").write_text(chosen.recipe.to_toml())
            if fast:
                recipe = plans.recipe_of(uniform[best].point)
                (args.write / f"uniform-{speedup:g}.toml").write_text(recipe.to_toml())
    print(table(rows, HEAD, "lrrrrrr"))
    every = [*plans.wholes, *wholes, *uniform.values()]
    predicted, measured = [one.point.predicted.loss for one in every], [one.loss for one in every]
    worst = max(
        (abs(plans.curves.corrected(one.point.predicted).agreement - one.agreement) for one in every), default=0
    )
    print(
        f"\n{len(every)} plans measured whole: rank correlation of predicted and measured loss "
        f"{spearmanr(predicted, measured).statistic:.3f}; of times "
        f"{spearmanr([one.point.predicted.ms for one in every], [one.ms for one in every]).statistic:.3f}; "
        f"agreement expected and measured differ by at most {100 * worst:.1f} points"
    )
    if args.json:
        found = [dict(zip(HEAD, row, strict=True)) for row in rows]
        args.json.write_text(json.dumps({"machine": machine(), "figures": found}, indent=2) + "\n")


def uniform_plans(plans: Plans) -> dict[str, Point]:
    """Return the plans that take every merge, by width and kernel."""
    found: dict[str, Point] = {}
    for kernel in KERNELS:
        for width in WIDTHS:
            chosen = {}
            for region in plans.study.regions:
                same = [c.label for c in region.choices if _fits(c, width, kernel)]
                chosen[region.name] = same[0] if same else LEAVE
            sums = total(plans.prices, chosen)
            point = Point(chosen, Price(sums.ms + plans.rest, sums.loss))
            if all(point.chosen != other.chosen for other in found.values()):
                found[f"width {width}, kernel {kernel}"] = point
    return found


def _fits(choice: Choice, width: float | str, kernel: str) -> bool:
    """Return whether a choice merges all that it can, at this width and with this kernel, and decomposes nothing."""
    options = {key: value for step in choice.steps for key, value in step.options.items()}
    return (
        bool(choice.steps)
        and "rank" not in options
        and options.get("width", width) == width
        and options.get("kernel", kernel) in (kernel, "keep" if "kernel" not in choice.label else kernel)
        and "pooling" in options.get("absorb", ("pooling",))
    )


def _row(name: str, wanted: float, plans: Plans, one: Whole) -> tuple[str, ...]:
    speed, predicted = plans.original_ms / one.ms, one.point.predicted.loss
    figures = f"{speed:.2f}", f"{one.ms:.2f}", f"{100 * one.agreement:.1f} %", f"{one.loss:.4f}", f"{predicted:.4f}"
    return name, f"{wanted:g}", *figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prototxt", type=Path)
    parser.add_argument("caffemodel", type=Path)
    parser.add_argument("--data", required=True, help="training images, as deepmerge plan --data takes them")
    parser.add_argument("--engine", default="ort")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--measurements", type=Path, help="CSV file of measurements; else the user's cache has them")
    parser.add_argument("--speedups", type=lambda text: [float(x) for x in text.split(",")], default=[1.5, 2.0, 3.0])
    parser.add_argument("--write", type=Path, help="folder for the plans' recipes")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
