from __future__ import annotations

import math

import pytest

from deepmerge.choose.measurements import Measurements
from deepmerge.errors import PlanError

NAMES = ["conv1", "a,b", 'quo"te', "två\nlines"]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_added_is_read_again(tmp_path, name):
    file = tmp_path / "sub" / "m.csv"
    Measurements(file, "ort").add(name, f"width {name}", ms=1.25)
    Measurements(file, "ort").add(name, f"width {name}", loss=0.5, agreement=0.75, channels='{"a": [1]}')

    found = Measurements(file, "ort").get(name, f"width {name}")

    assert (found.ms, found.loss, found.agreement, found.channels) == (1.25, 0.5, 0.75, '{"a": [1]}')


def test_times_of_another_engine_are_not_used(tmp_path):
    Measurements(tmp_path / "m.csv", "caffe").add("r", "leave", ms=1.0)

    assert Measurements(tmp_path / "m.csv", "ort").get("r", "leave").ms is None


def test_three_columns_are_enough_for_a_devices_times(tmp_path):
    file = tmp_path / "phone.csv"
    file.write_text("region,candidate,ms\nr,leave,3\n")
    found = Measurements(file, "ort")

    assert found.get("r", "leave").ms == 3.0
    assert found.has_given_times("r") and not found.has_given_times("other")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "m.csv").write_text("region,candidate,ms\nr,leave,3\n", encoding="utf-8-sig")
    assert Measurements(tmp_path / "m.csv", "ort").get("r", "leave").ms == 3.0


def test_a_region_that_a_device_has_timed_has_no_time_of_this_machine(tmp_path):
    file = tmp_path / "m.csv"
    Measurements(file, "ort").add("r", "half", ms=9.0)
    with open(file, "a") as lines:
        lines.write("r,leave,3\n")
    found = Measurements(file, "ort")
    assert (found.get("r", "leave").ms, found.get("r", "half").ms) == (3.0, None)


def test_a_devices_file_takes_losses_too_and_keeps_other_engines_times(tmp_path):
    file = tmp_path / "m.csv"
    Measurements(file, "caffe").add("r", "leave", ms=9.0)
    file.write_text(file.read_text().rstrip("\n"))  # as an editor may leave it
    Measurements(file, "ort").add("r", "leave", ms=3.0)
    Measurements(file, "ort").add("r", "leave", loss=0.5)

    assert [Measurements(file, on).get("r", "leave").ms for on in ("caffe", "ort", "mnn")] == [9.0, 3.0, None]
    assert Measurements(file, "mnn").get("r", "leave").loss == 0.5


@pytest.mark.parametrize(
    "text, says",
    [
        ("a;b\n1;2\n", "must name the columns"),
        ("region,candidate,ms\nr,leave,fast\n", "line 2, ms: 'fast' is not a number"),
        ("region,candidate,ms\nr,leave,-1\n", "'-1' is not a number from 0 on"),
        ("region,candidate,ms\nr,leave,nan\n", "'nan' is not a number"),
        ("region,candidate,agreement\nr,leave,inf\n", "'inf' is not a number"),
        ("region,candidate,loss\nr,leave,nan\n", "'nan' is not a number"),
        ("region,candidate,channels\nr,half,{'a': 1}\n", "line 2, channels: \"{'a': 1}\" does not say in JSON"),
        ('region,candidate,channels\nr,half,"{""a"": [-1]}"\n', "which filters reducers keep; delete the line"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, says):
    file = tmp_path / "m.csv"
    file.write_text(text)
    with pytest.raises(PlanError) as caught:
        Measurements(file, "ort")
    assert says in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize("row, says", [("conw1,leave,1", "'conv1'"), ("conv1,leaf,1", "'leave'")])
def test_an_unknown_name_gets_a_candidate(tmp_path, row, says):
    file = tmp_path / "m.csv"
    file.write_text(f"region,candidate,ms\n{row}\n")
    with pytest.raises(PlanError) as caught:
        Measurements(file, "ort").check(lambda: [("conv1", "leave")])
    assert says in str(caught.value)


def test_a_written_line_may_be_about_something_that_this_run_leaves_out(tmp_path):
    file = tmp_path / "m.csv"
    file.write_text("region,candidate,ms\nconv2,leave,1\n")
    Measurements(file, "ort").check(lambda: [("conv2", "leave")])


def test_a_name_that_means_something_else_now_is_measured_again_and_both_stay(tmp_path):
    file, name = tmp_path / "m.csv", ("conv1", "leave")
    Measurements(file, "ort", "net", {name: "wide"}).add(*name, ms=1.0)
    narrow = Measurements(file, "ort", "net", {name: "narrow"})
    assert narrow.get(*name).ms is None
    narrow.add(*name, ms=2.0)

    assert [Measurements(file, "ort", "net", {name: c}).get(*name).ms for c in ("wide", "narrow")] == [1.0, 2.0]


def test_measurements_of_another_network_are_refused(tmp_path):
    file = tmp_path / "m.csv"
    Measurements(file, "ort", "one").add("conv1", "leave", loss=1.0)
    with pytest.raises(PlanError, match=r"m.csv, line 2: was measured on another network; give another file"):
        Measurements(file, "ort", "two")


def test_a_value_is_the_same_when_it_is_read_again(tmp_path):
    first = Measurements(tmp_path / "m.csv", "ort")
    first.add("r", "leave", ms=1 / 3, loss=2e-7 / 3)

    assert Measurements(tmp_path / "m.csv", "ort").get("r", "leave") == first.get("r", "leave")


def test_an_infinite_loss_is_read_again(tmp_path):
    Measurements(tmp_path / "m.csv", "ort").add("r", "half", ms=1.0, loss=math.inf)
    assert Measurements(tmp_path / "m.csv", "ort").get("r", "half").loss == math.inf


def test_two_runs_at_once_keep_what_both_have_measured(tmp_path):
    file = tmp_path / "m.csv"
    one, other = Measurements(file, "ort"), Measurements(file, "caffe")
    one.add("r", "leave", ms=1.0)
    other.add("r", "leave", ms=9.0)
    one.add("r", "half", ms=0.5)
    assert [Measurements(file, on).get("r", "leave").ms for on in ("ort", "caffe")] == [1.0, 9.0]
    assert Measurements(file, "ort").get("r", "half").ms == 0.5


def test_a_choice_may_be_refused_by_the_engine(tmp_path):
    Measurements(tmp_path / "m.csv", "ort").add("r", "half", ms=math.inf)
    assert Measurements(tmp_path / "m.csv", "ort").get("r", "half").ms == math.inf
