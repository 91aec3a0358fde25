"""Turn measurements into the sections of RESULTS.md, with the paper's figures and ours side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepmerge.measure.profile.rows import keys, side_by_side
from deepmerge.text import milliseconds, times_as_fast
from support import paper
from support.measured import Measured

NONE = "–"
TITLES = {"googlenet": "GoogLeNet", "inception_mini": "inception_mini"}
RESNETS = {"exact": ("--exact",), "merge": (), "cover": ("--kernel", "cover")}
RES2A = ("conv1", "res2a")

NOT_COMPARABLE = """\
DeepRebirth's figures (AAAI 2018) are for networks trained on ImageNet, run by Caffe on phones, a laptop's processor
and a Titan X. **Not comparable, and not measured here**: the phones (Moto E, Galaxy S5 and S6, every Arm column),
the laptop, the Titan X, the largest batch in a GPU's memory. Shares, ratios and sizes can be compared with ours;
milliseconds cannot. The trained networks are those of $ZOO, with ten classes (CIFAR-10), so top-5 is easier than on
ImageNet: compare the loss from step to step, not the level. Networks of models/ have random weights: they have
times, and no accuracy."""
HOW = "Times are medians; networks take turns. A speed-up has its 95 % interval. Each table is below its command."
NOT_KNOWN = "We do not know the paper's figures, and claim no likeness."
MEMORY = """\
The paper's memory matches every distinct blob plus the indices of max pooling. Its batches fill a Titan X; ours fill a
process on the CPU: compare the ratios."""
RESNET = """\
exact: BatchNorm and Scale folded, in conv1 to res2a alone, then in all layers; merge: conv1's pooling merged as well,
approximately, without training; cover: the same, with a kernel that covers all that the pooling saw."""
ROW_ALL = "`recover` leaves the weights that `lsq` found in the steps' rows; `all` is the final network."
NETRON = """\
netron computes nothing: `equal` means that its parser, run in Node.js, finds the same layers and, bit for bit, the same
weights."""


def titled(network: str) -> str:
    """Return a network's name as the paper writes it."""
    return TITLES.get(network, network)


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but names are aligned to the right."""
    lines = [head, ["---" if i == 0 or title in ("", "merged") else "---:" for i, title in enumerate(head)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def section(title: str, found: Sequence[dict[str, Any]], *parts: str) -> str:
    """Return a section: each measurement's command and circumstances, then what it found, or why it found nothing."""
    said = [f"`{one['command']}`  \n{about(one)}" for one in found]
    return "\n\n".join([f"### {title}", *said, *(part for part in parts if part)])


def about(found: dict[str, Any]) -> str:
    """Return the circumstances of a measurement: date, duration, threads, load."""
    if found["error"]:
        return f"**not measured**: {found['error']}"
    result, words = found["result"], [found["date"], f"{found['seconds']:.0f} s"]
    if isinstance(result, dict) and "machine" in result:
        machine, threads = result["machine"], result.get("threads") or result.get("settings", {}).get("threads")
        loads = [one[0] for one in (machine["load"], result.get("load_after")) if one]
        words += [f"{threads} thread{'s' * (threads != 1)} an engine"] if threads else []
        words += (
            [f"load average {' before, '.join(f'{one:.2f}' for one in loads)}{' after' * (len(loads) > 1)}"]
            if loads
            else []
        )
    return ", ".join(words)


def preface(machine: dict[str, str], inputs: Any, load: float) -> str:
    """Return the introduction and the machine."""
    rows = [[key, value] for key, value in machine.items()] + [["load at the end", f"{load:.2f}"]]
    likeness = (
        "step by step as in the paper"
        if inputs.main == "googlenet"
        else "since no GoogLeNet was given: no likeness is claimed"
    )
    given = f"Networks given: {', '.join(inputs.zoo)}. Tables 2 to 5 are of {titled(inputs.main)}, {likeness}."
    return "\n\n".join(["## The paper's tables", NOT_COMPARABLE, HOW, given, grid(["machine", ""], rows)])


def missing(number: int, title: str, network: str) -> str:
    """Return the section of a table whose network was not given."""
    return f"### Table {number}: {title}\n\nNot measured: $ZOO has no {network}."


def measured_engines(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the engines that measured something."""
    return [engine for engine in result["engines"] if not engine["absent"]]


def absent(result: dict[str, Any]) -> str:
    """Return a line for each engine that did not, with the reason."""
    return "  \n".join(
        f"{engine['engine']}: not measured: {engine['absent']}" for engine in result["engines"] if engine["absent"]
    )


def entry(engine: dict[str, Any], label: str) -> dict[str, Any]:
    """Return what an engine found for a network; {} if nothing."""
    return next((one for one in engine["networks"] if one["label"] == label), {})


def time_of(engine: dict[str, Any], label: str) -> str:
    """Return milliseconds and the speed-up, or that the engine refuses the network."""
    one = entry(engine, label)
    if "forward" not in one:
        return "refused" if one.get("refused") else NONE
    ratio = f" ({times_as_fast(one['ratio']).replace(' (', '×; ').rstrip(')')})" if one["ratio"] else ""
    return f"{milliseconds(one['forward']['median'])} ms{ratio}"


def table1(found: dict[str, Any], figure: Path) -> str:
    """Return Table 1."""
    title, result = "Table 1 and Figure 1: the share of the time in non-tensor layers", found["result"]
    if not result:
        return section(title, [found])
    engines = measured_engines(result)
    head = [
        "network",
        "paper: Intel x86",
        "Arm",
        "Titan X",
        *(cell for e in engines for cell in (e["engine"], "of it LRN")),
    ]
    rows, shares = [], []
    for network in result["networks"]:
        label, cells, share = network["label"], [], []
        for engine in engines:
            one = entry(engine, label)
            share.append(one["non_tensor"]["median"] if one.get("non_tensor") else None)
            cells += [f"{share[-1]:.1%}" if share[-1] is not None else NONE, lrn(one)]
        rows.append([label, *paper.NON_TENSOR.get(label, [NONE] * 3), *cells])
        shares.append(share)
    means = [[one for one in column if one is not None] for column in zip(*shares, strict=True)]
    ours = [cell for mean in means for cell in (f"{sum(mean) / len(mean):.1%}" if mean else NONE, "")]
    rows.append(["average", "49.89 %", "33.17 %", "35.22 %", *ours])
    note = "Shares of the sum of the layers' own times, without fusion. LRN is one of the non-tensor layers."
    return section(
        title, [found], grid(head, rows), note, f"![Figure 1: the time of each layer]({figure.name})", absent(result)
    )


def lrn(one: dict[str, Any]) -> str:
    """Return LRN's share of the sum of the layers' times."""
    times = keys(one, "type") if one.get("layers") else {}
    return f"{times.get('LRN', 0.0) / sum(times.values()):.1%}" if times else NONE


def table2(found: dict[str, Any], tucker: dict[str, Any] | None, network: str) -> str:
    """Return Table 2."""
    title, result = f"Table 2: {network}, accuracy after each step", found["result"]
    if not result:
        return section(title, [found])
    head, rows = steps(result, lambda name: paper.of_step(name), "paper: top-5")
    last = tucker and (tucker["result"] if "top" in tucker else tucker["result"] and tucker["result"]["networks"][-1])
    if last:
        scores = [f"{share:.2%}" for share in last["top"].values()]
        blanks = [NONE] * (len(head) - 3 - len(scores))
        rows.append([last.get("title", "Tucker on top, not trained"), "", paper.STEPS["Tucker"], *scores, *blanks])
    return section(
        title, [found, *([tucker] if tucker and "command" in tucker else [])], grid(head, rows), images(result)
    )


def steps(result: dict[str, Any], of_paper: Any, *paper_head: str) -> tuple[list[str], list[list[object]]]:
    """Return the head and rows of `deepmerge table`, with the paper's columns added."""
    ks = list(result["rows"][0]["top"]["original"]) if result["rows"][0]["top"] else []
    columns = [column["title"] for column in result["columns"]] if ks else []
    timed = result["rows"][0]["seconds"] is not None
    head = ["step", "merged", *paper_head, *(f"{title} top-{k}" for title in columns for k in ks)]
    rows: list[list[object]] = []
    for row in result["rows"]:
        name = row["step"] or "original"
        figures = of_paper(name)
        merged = row["merged"] if len(row["merged"]) < 5 else [*row["merged"][:2], f"… ({len(row['merged'])} layers)"]
        line = [name, ", ".join(merged), *([figures] if isinstance(figures, str) else figures)]
        for title in columns:
            top = row["top"].get(title) or (row["top"].get("original") if row["step"] is None else None)
            line += [f"{top[k]:.2%}" if top else NONE for k in ks]
        if timed:
            speedup = row["speedup"]
            line += [
                milliseconds(row["seconds"]["median"]),
                f"{speedup['value']:.2f} ({speedup['low']:.2f}–{speedup['high']:.2f})",
            ]
        rows.append(line)
    return head + (["ms", "times as fast"] if timed else []), rows


def images(result: dict[str, Any]) -> str:
    """Return what the accuracy and the times were measured on."""
    data = re.sub(r":/.*/", ":", result["data"] or "")  # its folder is this machine's
    accuracy = f"{result['images']} images of {data}, engine {result['engine']}" if data else ""
    times = f"times on {result['time_engine']}" if result["rows"][0]["seconds"] is not None else ""
    said = "; ".join(filter(None, [accuracy, times])) or "Without test images (DATA=SPEC) there is no accuracy"
    return f"{said}. {ROW_ALL}" if result["rows"][-1]["step"] == "all" else f"{said}."


def from_accuracy(path: Path, measured: Measured) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what benchmarks/accuracy.py left, as if it had been measured here, and its best row of Tucker."""
    left = json.loads(path.read_text())
    command = measured.command(left["command"].split())
    date = left["table"].get("date") or left.get("date") or f"from {path.parent.name}/{path.name}"
    found = {
        "command": command,
        "date": date,
        "seconds": sum(left["seconds"].values()),
        "error": None,
        "result": left["table"],
    }
    rows = sorted(left.get("tucker") or [], key=lambda row: row["top"][list(row["top"])[-1]])
    if not rows:
        return found, None
    best = rows[-1]
    title = f"{best['name']} on top, {best['macs'] / best['before']:.0%} of the MACs, not trained"
    return found, {"top": True, "result": {**best, "title": title}}


def table3(found: dict[str, Any]) -> str:
    """Return Table 3."""
    title, result = "Table 3: where the time goes, step by step", found["result"]
    if not result:
        return section(title, [found])
    parts = [f"{NOT_KNOWN} Milliseconds and share of the sum of the layers, without fusion."]
    for engine in measured_engines(result):
        entries = [one for one in engine["networks"] if one.get("layers")]
        sums = [sum(keys(one, "group").values()) or 1.0 for one in entries]
        rows: list[list[object]] = []
        for key, times in side_by_side(entries, "group"):
            if any(time is not None and time / total >= 0.005 for time, total in zip(times, sums, strict=True)):
                rows.append(
                    [
                        key,
                        *(
                            NONE if t is None else f"{t * 1e3:.2f} ({t / s:.1%})"
                            for t, s in zip(times, sums, strict=True)
                        ),
                    ]
                )
        shares = [f"{one['non_tensor']['median']:.1%}" if one.get("non_tensor") else NONE for one in entries]
        rows += [["sum of layers", *(milliseconds(total) for total in sums)], ["non-tensor", *shares]]
        rows.append(["one forward, with fusion", *(milliseconds(one["forward"]["median"]) for one in entries)])
        parts.append(grid([f"{engine['engine']}, ms", *(one["label"] for one in entries)], rows))
    return section(title, [found], *parts, absent(result))


def table4(found: dict[str, Any], profiled: dict[str, Any]) -> str:
    """Return Table 4."""
    title, result = "Table 4: time of one forward", found["result"]
    if not result:
        return section(title, [found])
    labels = [one["label"] for one in result["networks"]]
    head = ["on", *labels, f"LRN's share of {labels[0]}'s time"]
    rows: list[list[object]] = []
    for device, times in paper.TIMES.items():
        known = dict(zip(paper.MODELS, times, strict=True))
        first = known["GoogLeNet"]
        theirs = [known[label] for label in labels[1:]]
        rows.append(
            [f"paper: {device}", f"{first:g} ms", *(f"{time:g} ms ({first / time:.2f}×)" for time in theirs), NONE]
        )
    layers = {engine["engine"]: engine for engine in (profiled["result"] or {"engines": []})["engines"]}
    for engine in measured_engines(result):
        share = lrn(entry(layers.get(engine["engine"], {"networks": []}), labels[0]))
        rows.append([f"**here: {engine['engine']}**", *(time_of(engine, label) for label in labels), share])
    notes = [] if labels[0] == "GoogLeNet" else [f"The paper's column is GoogLeNet's, ours {labels[0]}'s."]
    notes.append("LRN's share is of the sum of the layers, from Table 3's command.")
    return section(title, [found], grid(head, rows), " ".join(notes), absent(result))


def table5(found: dict[str, Any], batches: dict[str, Any], limit: str) -> str:
    """Return Table 5."""
    title, result = "Table 5: energy, storage, memory, largest batch", found["result"]
    if not result:
        return section(title, [found, batches])
    searched = batches["result"] and measured_engines(batches["result"])
    engine = measured_engines(result)[0] if measured_engines(result) else {"engine": "no engine", "networks": []}
    rows, reasons = [], set()
    for i, one in enumerate(result["networks"]):
        label, activations, here = one["label"], one["activation_bytes"], entry(engine, one["label"])
        theirs = paper.LOADS["GoogLeNet" if i == 0 else label]
        energy, memory = here.get("energy") or {}, here.get("memory") or {}
        reasons |= {energy["not_available"]} if "not_available" in energy else set()
        batch = (entry(searched[0], label).get("largest_batch") or {}) if searched else {}
        joules = f"{1e3 * energy['joules_per_image']:.1f}" if "joules_per_image" in energy else NONE
        held = [f"{activations[key] / 1e6:.1f}" for key in ("unique", "caffe", "planned")]
        peak = f"{memory['peak'] / 1e6:.0f}" if memory.get("peak") else NONE
        line = [label, theirs[0], joules, theirs[1], f"{one['storage_bytes'] / 1e6:.2f}", theirs[2], *held, peak]
        rows.append([*line, theirs[3], batch.get("images", NONE)])
    head = ["model", "energy, mJ: paper", "here", "storage, MB: paper", "here", "memory, MB: paper", "distinct blobs"]
    head += ["as Caffe holds them", "planned", f"peak of the process, {engine['engine']}"]
    head += ["largest batch: paper", f"here, process within {limit}"]
    return section(
        title, [found, batches], grid(head, rows), MEMORY, *(f"Energy: {reason}." for reason in sorted(reasons))
    )


def table6(rows: dict[str, Any], bench: dict[str, Any]) -> str:
    """Return Table 6."""
    title, parts = "Table 6: AlexNet, step by step", []
    if rows["result"]:
        columns = ("paper: top-5", "paper: time", "paper: energy")
        head, lines = steps(rows["result"], lambda name: paper.ALEXNET.get(name, [NONE] * 3), *columns)
        parts += [grid(head, lines), images(rows["result"]) + " The paper's times and energy are a phone's."]
    if bench["result"]:
        labels = [one["label"] for one in bench["result"]["networks"]]
        engines = measured_engines(bench["result"])
        energies = {
            one["energy"].get("not_available", "") for e in engines for one in e["networks"] if one.get("energy")
        } - {""}
        joules = [entry(e, label).get("energy", {}).get("joules_per_image") for e in engines[:1] for label in labels]
        lines = [[label, *(time_of(e, label) for e in engines)] for label in labels]
        lines = [
            [*line, f"{1e3 * j:.1f} mJ" if j else NONE]
            for line, j in zip(lines, joules or [None] * len(lines), strict=True)
        ]
        parts += [
            grid(["network", *(e["engine"] for e in engines), "energy"], lines),
            *(f"Energy: {why}." for why in sorted(energies)),
        ]
    return section(title, [rows, bench], *parts)


def table7(bench: dict[str, Any], recovered: dict[str, Any] | None) -> str:
    """Return Table 7."""
    title, parts = "Table 7: ResNet, conv1 to res2a, accuracy against speed-up", [f"{NOT_KNOWN} {RESNET}"]
    if result := bench["result"]:
        engines, scored = measured_engines(result), [one for one in result["networks"] if one.get("accuracy")]
        ks = list(scored[0]["accuracy"]["top"]) if scored else []
        rows = []
        for one in result["networks"]:
            scores = [f"{one['accuracy']['top'][k]:.2%}" for k in ks]
            rows.append(
                [one["label"], *scores, f"{one['macs'] / 1e6:,.0f} M", *(time_of(e, one["label"]) for e in engines)]
            )
        parts.append(grid(["network", *(f"top-{k}" for k in ks), "MACs", *(e["engine"] for e in engines)], rows))
        parts += [f"Accuracy over {scored[0]['accuracy']['images']} images."] if scored else []
    if recovered and recovered["result"]:
        head, lines = steps(recovered["result"], lambda name: [])
        parts += ["Recovered:", grid(head, lines), images(recovered["result"])]
    return section(title, [bench, *([recovered] if recovered else [])], *parts)


def self_check(found: Sequence[dict[str, Any]], network: str) -> str:
    """Return the self-check of a network against itself."""
    title, done = f"Self-check: {network} against itself", [one for one in found if one["result"]]
    if not done:
        return section(title, found[:1])
    engines = {e["engine"]: e for e in measured_engines(done[0]["result"])}
    rows = []
    for name in engines:
        entries = [entry(e, "again") for one in done for e in measured_engines(one["result"]) if e["engine"] == name]
        ratios = [one["ratio"] for one in entries if one.get("ratio")]
        within = all(abs(ratio["value"] - 1) <= 0.03 for ratio in ratios) and len(ratios) == len(found)
        rows.append(
            [
                name,
                *(f"{r['value']:.4f} ({r['low']:.4f}–{r['high']:.4f})" for r in ratios),
                "yes" if within else "**no**",
            ]
        )
    head = ["engine", *(f"run {i}" for i in range(1, len(done) + 1)), f"all {len(found)} within 1 ± 0.03"]
    return section(title, found[-1:], "The last of five commands, which differ only in `--seed`.", grid(head, rows))


def opens(found: dict[str, Any]) -> str:
    """Return which engines take the converted networks."""
    text = found["result"] if isinstance(found["result"], str) else ""
    text = re.sub(r"\n\n(.*)\Z", lambda rest: "\n\n" + rest[1].replace("\n", "  \n"), text, flags=re.DOTALL)
    return section("Which engines take the converted networks", [found], text, NETRON)


def conversions(found: Sequence[dict[str, Any]]) -> str:
    """Return the commands that made the measured networks."""
    text = "\n".join(one["command"] for one in found)
    return f"### The conversions\n\n```text\n{text}\n```" if found else ""
