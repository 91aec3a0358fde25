"""What the sections say, and that they say it as it is."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest

from deepmerge.out.read import read_converted
from deepmerge.page.checked import checked
from deepmerge.page.measured import read_measured, read_steps
from deepmerge.page.sections import accuracy, costs, steps, summary, times
from deepmerge.page.sections.headline import headline
from tests.page.conftest import bench_json, profile_json, recovery_json, spread, table_json


def text(markup: str) -> str:
    """What a reader sees, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


@pytest.fixture(scope="module")
def converted(mini):
    return read_converted(mini)


@pytest.fixture(scope="module")
def report(converted):
    return checked(converted.report, converted.folder)


def test_lead_and_totals(report):
    assert text(summary.lead(report)).startswith(
        "5 approximate steps took it from 57 to 36 layers; 34.5% of the multiply-adds are left"
    )
    made = text(summary.totals(report))
    assert "Parameters 286 k 195 k 68.4%" in made and "Activations, planned 197 kB 65.5 kB 33.3%" in made


def test_lead_of_exact_steps_and_of_none(report):
    exact = report | {"steps": [step | {"exact": True} for step in report["steps"][:1]]}
    assert "1 exact step took it" in text(summary.lead(exact)) and "float rounding alone" in text(summary.lead(exact))
    as_many = report | {"after": report["after"] | {"layers": report["before"]["layers"]}}
    assert text(summary.lead(as_many)).startswith("5 approximate steps changed it; it has 57 layers, as before; 34.5%")
    none = report | {"steps": [], "before": {}, "after": {}}
    assert text(summary.lead(none)) == "No step took it from ? to ? layers."


def test_lead_says_what_training_has_won_back(report):
    until = "Approximate steps cost accuracy until the network is recovered or fine-tuned."
    assert text(summary.lead(report)).endswith(until)
    story = recovery_json()
    agreed = "it gave the original's answer on 25.0% of 30 held-out images before recovery, on 75.0% after it."
    lost = "Undone, since it did harm: distill."
    assert text(summary.lead(report | {"recovery": story})).endswith(f"The network has been recovered: {agreed} {lost}")
    tuned = {"finetuning": {"runs": [{"step": "conv1"}]}}
    both = text(summary.lead(report | {"recovery": story} | tuned))
    assert f"The network has been recovered and fine-tuned: {agreed}" in both
    assert text(summary.lead(report | tuned)).endswith("cost accuracy; the network has been fine-tuned since.")
    for nothing in ({"stages": [], "note": "no stage had time"}, {"stages": story["stages"][2:]}):
        assert until in text(summary.lead(report | {"recovery": nothing}))


def test_headline_says_how_fast_by_what_was_measured(saved, report, converted):
    fewer = "counted; the time was not measured 2.90 times fewer MACs accuracy not measured"
    assert text(headline(report, None)) == fewer
    on = {"engine": "ort", "timed_on": "times given in m.csv"}
    choice = {"measured": False, "time_measured": True, "speedup": 3.0, "frontier": on}
    chosen = text(headline(report | {"choice": choice}, None))
    assert chosen.startswith("measured on ort, when the merges were chosen 3.00 times as fast"), "the loss was not"
    given = text(headline(report | {"choice": choice | {"time_measured": False}}, None))
    assert given.startswith("by times given in m.csv, when the merges were chosen 3.00 times as fast")
    assert text(headline(report | {"choice": choice | {"time_measured": None}}, None)) == fewer
    table = read_steps(saved("t.json", table_json(converted)))
    assert text(headline(report, table)).startswith("measured on ort 3.50 times as fast")
    profile = read_measured(saved("p.json", profile_json()), "profile")
    assert text(headline(report, table, profile=profile)).startswith("measured on ort 4.00 times as fast")


def test_headline_of_an_older_report_says_what_was_measured(report):
    """One without `time_measured`: the time was measured where `measured` is true; else it is not known."""
    choice = {"measured": True, "speedup": 3.0, "frontier": {"engine": "ort"}}
    made = text(headline(report | {"choice": choice}, None))
    assert made.startswith("measured on ort, when the merges were chosen 3.00 times as fast")
    made = text(headline(report | {"choice": choice | {"measured": False}}, None))
    assert made.startswith("counted; the time was not measured 2.90 times fewer MACs")


def test_headline_says_how_accurate_before_merged_and_recovered(saved, report, converted):
    made = text(headline(report, read_steps(saved("t.json", table_json(converted)))))
    images = "100 images of npz:test.npz"
    assert f"top-1 before, {images} 90.0% top-1 merged, {images} 40.0% top-1 recovered, {images} 85.0%" in made
    made = text(headline(report | {"recovery": recovery_json()}, None))
    same = "same answer as the original"
    assert f"{same}, merged, 30 held-out images 25.0% {same}, recovered, 30 held-out images 75.0%" in made
    exact = report | {"steps": [step | {"exact": True} for step in report["steps"]]}
    assert "accuracy" not in text(headline(exact, None))


def test_headline_of_a_table_is_that_of_the_last_steps_not_of_int8(saved, report, converted):
    """Where a row lacks a time or a column, the last one that has it counts."""
    value, nine = table_json(converted), {"value": 9.0, "low": 8, "high": 10}
    steps_alone = text(headline(report, read_steps(saved("t.json", value))))
    assert "3.50 times as fast" in steps_alone and "40.0% top-1 recovered" in steps_alone
    beside = value["rows"][-1] | {"index": None, "seconds": None, "speedup": None}
    last = beside | {"step": "all", "top": {"recovered": {"1": 0.88}}}
    both = {"merged": {"1": 0.1}, "recovered": {"1": 0.2}}
    for speedup, top in ((None, both), (nine, both), (nine, {})):
        int8 = beside | {"step": "int8", "top": top, "speedup": speedup}
        made = text(headline(report, read_steps(saved("t.json", value | {"rows": [*value["rows"], int8]}))))
        assert made == steps_alone
        made = text(headline(report, read_steps(saved("t.json", value | {"rows": [*value["rows"], last, int8]}))))
        assert made == steps_alone.replace("85.0%", "88.0%")
    named_so = value["rows"][-1] | {"step": "int8", "speedup": nine}
    made = text(headline(report, read_steps(saved("t.json", value | {"rows": [*value["rows"], named_so]}))))
    assert "9.00 times as fast" in made, "a step of this name"


def test_headline_of_a_bench_leaves_out_networks_in_int8(saved, report):
    value = bench_json()
    runs, networks = value["engines"][0]["networks"], value["networks"]
    before = text(headline(report, None, read_measured(saved("b.json", value), "bench")))
    assert before.startswith("measured on ort 4.00 times as fast") and "top-1 of after, 100 images 80.0%" in before
    runs.append(runs[-1] | {"label": "small", "ratio": spread(0.1, "value")})
    networks.append(networks[-1] | {"label": "small", "onnx": "out/model-int8.onnx"})
    assert text(headline(report, None, read_measured(saved("b.json", value), "bench"))) == before
    networks[-1]["onnx"] = "out/model.onnx"
    made = text(headline(report, None, read_measured(saved("b.json", value), "bench")))
    assert made.startswith("measured on ort 10.0 times as fast")


def test_steps(report):
    made = text(steps.step_table(report))
    assert "1 conv1 approximate 54 17.8 M 96.4% conv1/3x3 , pool1/3x3_s2 , pool1/norm1 → conv1/3x3" in made
    assert text(steps.cleanup(report)) == "Also, exactly: remove_dropout : pool5/drop ."
    assert text(steps.step_table(report | {"steps": []})) == "There was no step."


def test_refusals_that_differ_in_numbers_alone_share_a_row():
    alike = [
        {"pass": "decompose_tucker", "layer": f"c{i}", "reason": f"at rank {i} it must save 20%"} for i in range(5)
    ]
    other = [{"pass": "merge_lrn", "layer": name, "reason": "'x' reads it, too"} for name in ("n1", "n2")]
    made = text(steps.refusals({"refusals": alike + other}))
    assert "5 layers c0 : at rank 0 it must save 20%" in made and "decompose_tucker at rank … it must save 20%" in made
    assert "n1 , n2 merge_lrn 'x' reads it, too" in made
    assert text(steps.refusals({"refusals": []})) == "No pass refused a layer."


def test_warnings():
    assert text(steps.warnings(["<odd>"])) == "Warnings <odd>" and steps.warnings([]) == ""


def test_costs(mini_stages):
    first, last = mini_stages[0].facts, mini_stages[-1].facts
    made = text(costs.by_type(mini_stages))
    assert f"LRN {sum(fact.type == 'LRN' for fact in first)} " in made
    assert costs.profiles(mini_stages).count("<figure>") == 4
    every = costs.every_layer(mini_stages)
    assert every.count('<th scope="row">') == len(first) + len(last)


def test_times(saved):
    found = read_measured(saved("p.json", profile_json()), "profile")
    made = text(times.profile(found))
    assert "after on ort 5.00 ms 4.50 ms – 6.00 ms 4.00× (3.33× – 4.44×) 5.00 ms 60.0%" in made
    assert "LRN 12.0 ms 60.0% 3.00 ms 15.0%" in made and "caffe : no <b>Caffe</b>" in made
    assert "<b>Caffe" not in times.profile(found)
    made = text(times.bench(read_measured(saved("b.json", bench_json()), "bench")))
    assert "peak memory largest batch" in made and "20.0 MB 16" in made and "energy" not in made


def test_accuracy_of_a_table(saved, report, converted):
    found = read_steps(saved("t.json", table_json(converted)))
    made = accuracy.accuracy(report, found, None)
    assert "1 conv1 10.0 ms 1.50× 80.0% 89.0%" in text(made) and '<svg class="chart"' in made
    assert "recovered: from 90.0% at 1.00× to 85.0% at 3.50×" in made
    assert "not measured" not in made


def test_accuracy_without_times_is_drawn_by_macs(saved, report, converted):
    made = text(accuracy.accuracy(report, read_steps(saved("t.json", table_json(converted, timed=False))), None))
    assert "times fewer MACs (counted; no time was measured)" in made and "times as fast" not in made


def test_accuracy_that_nobody_measured(report):
    made = text(accuracy.accuracy(report, None, None))
    assert made.startswith("Accuracy was not measured step by step. This does it: deepmerge table OUT")
    exact = report | {"steps": [step | {"exact": True} for step in report["steps"]]}
    assert text(accuracy.accuracy(exact, None, None)).startswith("Every step was exact")


def test_recovery_and_finetuning(report):
    stages = recovery_json()["stages"]
    runs = [{"step": "conv1", "iterations": 100, "loss_before": 2.0, "loss_after": 1.0, "seconds": 12.0,
             "tests": [{"iteration": 100, "test": 0, "all": True, "accuracy": 0.81, "images": 10}]}]  # fmt: skip
    made = text(accuracy.accuracy(report | {"recovery": {"stages": stages}, "finetuning": {"runs": runs}}, None, None))
    assert "lsq 84.0 s 2 0.5 25.0%" in made and "chain 10.0 s 1 0.9 90.0% 50.0% 75.0%" in made
    assert "distill (rolled back)" in made and "chain (rolled back)" not in made
    assert "conv1 100 2 1 12 s accuracy 0.81, images 10" in made
    odd_lists = ((3, None), ([None], ["x"]), ([{}], [{"tests": 3}]))
    for odd in (3, *({"stages": stages, "runs": runs} for stages, runs in odd_lists)):
        accuracy.accuracy(report | {"recovery": odd, "finetuning": odd}, None, None)


def test_training(converted):
    made = text(accuracy.training(converted))
    for command in ("deepmerge recover", "deepmerge finetune", "make -C", "deepmerge eval"):
        assert f"{command} OUT" in made


def test_training_shows_the_ways_whose_files_are_there(mini, tmp_path):
    out = Path(shutil.copytree(mini, tmp_path / "out"))
    (out / "finetune.mk").unlink()
    made = text(accuracy.training(read_converted(out)))
    assert "deepmerge finetune OUT" in made and "With Caffe" not in made
    (out / "solver.prototxt").unlink()
    made = text(accuracy.training(read_converted(out)))
    assert "deepmerge recover OUT" in made and "deepmerge eval OUT" in made and "finetune" not in made
    shutil.rmtree(out / "steps")
    assert "caffe train" not in text(accuracy.training(read_converted(out)))
    shutil.copy(mini / "solver.prototxt", out)
    assert "caffe train -solver solver.prototxt" in text(accuracy.training(read_converted(out)))
    for name in ("deploy.prototxt", "weights.caffemodel", "solver.prototxt"):
        (out / name).unlink()
    (out / "model.onnx").touch()
    again = "OUT holds ONNX alone, which cannot be trained. Convert again with --emit caffe,onnx ."
    assert text(accuracy.training(read_converted(out, need_final=False))) == again
