"""Speed against accuracy; what recovery and fine-tuning gained, and the commands that run them."""

from __future__ import annotations

from typing import Any

from deepmerge.out.read import Converted
from deepmerge.page.checked import is_number
from deepmerge.page.markup import Html, code, element, join, table, used, written
from deepmerge.page.measured import Measured, Row, Steps
from deepmerge.page.sections.steps import numbered
from deepmerge.page.sections.times import ms
from deepmerge.page.svg import Line, speed_chart
from deepmerge.page.training import entries
from deepmerge.text import count, share_left, times

_HOW = (
    "deepmerge table OUT --data folder:TEST_IMAGES --json > table.json && "
    "deepmerge report OUT --table table.json --force"
)


def accuracy(report: dict[str, Any], steps: Steps | None, bench: Measured | None) -> Html:
    """Return all that is known of accuracy, or how to measure it."""
    parts = [
        _table(report, steps) if steps else "",
        _bench(bench) if bench and bench.accuracy else "",
        recovery(report.get("recovery")),
        finetuning(report.get("finetuning")),
        _int8(report.get("onnx", {}).get("int8")),
    ]
    known = any(row.top for row in (steps.rows if steps else ())) or (bench and bench.accuracy)
    if not known:
        rough = any(not step["exact"] for step in report["steps"])
        how = ["Accuracy was not measured step by step. This does it: ", code(_HOW)]
        text = how if rough else ["Every step was exact: no accuracy is lost."]
        parts.insert(0, element("p", *text, class_="note"))
    return join([part for part in parts if part], "\n")


def _int8(entry: dict[str, Any] | None) -> Html | str:
    """Return how far the network in int8 is from the one in float32."""
    if not entry:
        return ""
    rows = [
        (code(one["name"]), written("{:.1%}".format, one["top1"]), written("{:.2%}".format, one["error"]))
        for one in entry["outputs"]
    ]
    images = f"{count(entry['held_out'], 'image')} held out, calibrated on {entry['calibrated']:,} ({entry['method']})"
    head = ("output", "same best class", "error, root mean square")
    return table(f"Int8 against float32: {images}", head, rows, "lrr", "int8")


def _table(report: dict[str, Any], steps: Steps) -> Html:
    ks = list(dict.fromkeys(k for row in steps.rows for top in row.top.values() for k in top))
    timed = any(row.speedup is not None for row in steps.rows)
    speeds = [row.speedup for row in steps.rows] if timed else _by_macs(report, steps)
    images = f", with {steps.images}" if steps.images else ""
    parts = [element("p", f"Measured on {steps.where}{images}. From ", code(steps.file.name), ".")]
    lines = _lines(steps, ks[0], speeds) if ks else []
    if lines:
        across = f"times as fast ({steps.engine})" if timed else "times fewer MACs (counted; no time was measured)"
        parts.append(_figure(lines, across, ks[0]))
    head = ["step", *([f"{steps.engine}, one forward", "times as fast"] if timed else [])]
    head += [f"{column}, top-{k}" for column in steps.columns for k in ks]
    rows = []
    for row in steps.rows:
        cells = [written(ms, row.seconds), written(times, row.speedup)] if timed else []
        cells += [written("{:.1%}".format, _top(row, column).get(k)) for column in steps.columns for k in ks]
        name = code(row.step) if row.step else "original"
        rows.append((numbered("" if row.index is None else row.index, name), *cells))
    return join([*parts, table("After each step", head, rows, "l" + "r" * (len(head) - 1), "accuracies")], "\n")


def _top(row: Row, column: str) -> dict[str, float]:
    return row.top.get(column, {} if row.step else row.top.get("original", {}))


def _by_macs(report: dict[str, Any], steps: Steps) -> list[float | None]:
    """Return the original's MACs over each step's, if the report has them."""
    whole = report["before"].get("macs")
    macs = {step["name"]: step.get("after", {}).get("macs") for step in report["steps"]}
    macs |= {"": whole, "all": report["after"].get("macs")}
    return [whole / macs[row.step] if whole and macs.get(row.step) else None for row in steps.rows]


def _lines(steps: Steps, k: str, speeds: list[float | None]) -> list[Line]:
    lines = []
    for column in steps.columns:
        points = []
        for row, speed in zip(steps.rows, speeds, strict=True):
            top = _top(row, column)
            if speed is not None and k in top:
                points.append((str(row.index) if row.index is not None else row.step, speed, top[k]))
        if len(points) > 1:
            lines.append(Line(column, points))
    return lines


def _figure(lines: list[Line], across: str, k: str) -> Html:
    summary = "; ".join(f"{line.name}: from {_place(line.points[0])} to {_place(line.points[-1])}" for line in lines)
    label = f"Top-{k} accuracy against speed, step by step. {summary}."
    chart = speed_chart(lines, across, f"top-{k} accuracy, %", label)
    kinds = ["last" if i == len(lines) - 1 else f"line{min(i, 2)}" for i in range(len(lines))]
    named = zip(lines, kinds, strict=True)
    key = join([join([element("span", "", class_=f"dash {kind}"), f" {line.name}"]) for line, kind in named], "   ")
    caption = element("figcaption", key, ". The numbers are the steps'; 0 is the original.")
    return element("figure", chart, caption)


def _place(point: tuple[str, float, float]) -> str:
    return f"{point[2]:.1%} at {times(point[1])}"


def _bench(found: Measured) -> Html:
    ks = list(dict.fromkeys(k for top in found.accuracy.values() for k in top))
    rows = [(code(label), *(written("{:.1%}".format, top.get(k)) for k in ks)) for label, top in found.accuracy.items()]
    caption = f"Accuracy on {count(found.images or 0, 'image')}, from {found.file.name}"
    return table(caption, ("network", *(f"top-{k}" for k in ks)), rows, "l" + "r" * len(ks))


def recovery(story: Any) -> Html:
    """Return the stages of a recovery; nothing if there was none."""
    rows = []
    for one in entries(story, "stages"):
        before, after = (one.get(f"loss_{when}") for when in ("before", "after"))
        left = share_left(before, after) if is_number(before) and is_number(after) else ""
        forms = {"agreement_before": "{:.1%}", "agreement_after": "{:.1%}"}
        losses = _numbers(one, {"seconds": "{:,.1f} s", "loss_before": "{:.4g}", "loss_after": "{:.4g}"})
        name = join([code(one.get("name", "?")), " (rolled back)" if one.get("undone") else ""])
        rows.append((name, *losses, left, *_numbers(one, forms)))
    if not rows:
        return Html("")
    head, rows = used(("stage", "took", "loss before", "after", "left", "agreement before", "after"), rows)
    caption = "Recovered without labels; agreement is how often the network's best class is the original's"
    return join([element("h3", "Recovery"), table(caption, head, rows, "l" + "r" * (len(head) - 1))])


def finetuning(story: Any) -> Html:
    """Return the runs of a fine-tuning, with their last tests; nothing if there was none."""
    rows = []
    for one in entries(story, "runs"):
        last = (entries(one, "tests") or [{}])[-1]
        shown = {key: value for key, value in last.items() if key not in ("iteration", "test", "all")}
        tests = ", ".join(f"{key} {value:.4g}" for key, value in shown.items() if is_number(value))
        forms = {"iterations": "{:,}", "loss_before": "{:.4g}", "loss_after": "{:.4g}", "seconds": "{:,.0f} s"}
        rows.append((code(one.get("step") or "all steps"), *_numbers(one, forms), tests))
    if not rows:
        return Html("")
    head = ("step", "iterations", "loss before", "after", "took", "last test")
    return join([element("h3", "Fine-tuning"), table("Fine-tuned with labels", head, rows, "lrrrrl")])


def _numbers(entry: dict[str, Any], forms: dict[str, str]) -> list[str]:
    """Return the numbers under the keys, each in its form; "" for what is not a number."""
    return [form.format(entry[key]) if is_number(entry.get(key)) else "" for key, form in forms.items()]


def training(converted: Converted) -> Html:
    """Return the ways to get the accuracy back for which OUT has the files; that none is needed if all was exact."""
    if not converted.approximate:
        return element("p", "Every change was exact: the network computes what it did, and nothing has to be trained.")
    ways = [way for file, way in _ways(bool(converted.steps)) if (converted.folder / file).is_file()]
    if not ways:
        again = "OUT holds ONNX alone, which cannot be trained. Convert again with "
        return element("p", again, code("--emit caffe,onnx"), ".")
    about = "Run these beside the folder that holds this page (here called OUT). Replace the words in capitals."
    return join([element("p", about), *ways], "\n")


def _ways(stepwise: bool) -> list[tuple[str, Html]]:
    """Return each way, after the file in OUT that it takes; a network that no loss fits has no solver."""
    weights, solver = "weights.caffemodel", "solver.prototxt"
    recover = _way(
        "Without labels",
        "Merged layers are fitted to what the original computes, then the whole network to its outputs.",
        "deepmerge recover OUT --data folder:IMAGES -o OUT2",
    )
    finetune = _way(
        "With labels",
        "Follows solver.prototxt: new layers learn ten times as fast as old ones.",
        "deepmerge finetune OUT --data folder:IMAGES --test-data folder:TEST_IMAGES -o OUT2",
    )
    caffe = _way("With Caffe", "In OUT.", "caffe train -solver solver.prototxt -weights weights.caffemodel")
    in_steps = _way(
        "With Caffe",
        "Step by step, each from the weights that the one before it ended with; the result is finetuned.caffemodel.",
        "make -C OUT -f finetune.mk CAFFE=/path/to/caffe",
    )
    measure = _way("And measure it", "Before and after.", "deepmerge eval OUT --data folder:TEST_IMAGES --top 1,5")
    with_caffe = ("finetune.mk", in_steps) if stepwise else (solver, caffe)
    return [(weights, recover), (solver, finetune), with_caffe, (weights, measure)]


def _way(title: str, text: str, command: str) -> Html:
    label = f"Copy the command: {command}"
    button = element("button", "Copy", type="button", class_="copy", aria_label=label, hidden=True)
    line = element("div", element("pre", code(command), tabindex="0"), button, class_="command")
    return element("div", element("h3", title), element("p", text), line, class_="way")
