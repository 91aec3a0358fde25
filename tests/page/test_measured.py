from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmerge.errors import ReadError
from deepmerge.out.read import read_converted
from deepmerge.page.measured import read_measured, read_steps
from tests.page.conftest import bench_json, profile_json, table_json


def test_a_profile(saved):
    found = read_measured(saved("p.json", profile_json()), "profile")
    assert found.where == "A processor, 2 cores, 1 thread, load average 0.25" and found.absent == {
        "caffe": "no <b>Caffe</b>"
    }
    before, after = found.engines["ort"]
    assert before.ratio is None and before.forward == (0.02, pytest.approx(0.018), pytest.approx(0.024))
    assert after.ratio == pytest.approx((4, 4 / 1.2, 4 / 0.9)), "times as fast, and its interval from low to high"
    assert [(one.name, one.tensor) for one in after.layers] == [("conv1", True), ("norm1", False)]


def test_a_bench(saved):
    found = read_measured(saved("b.json", bench_json()), "bench")
    assert found.accuracy == {"before": {"1": 0.9, "5": 0.99}, "after": {"1": 0.8, "5": 0.99}} and found.images == 100
    assert found.engines["ort"][1].figures == {"peak": 20e6, "batch": 16}


def test_a_table(saved, mini):
    found = read_steps(saved("t.json", table_json(read_converted(mini))))
    assert found.columns == ["merged", "recovered"] and found.images == "100 images of npz:test.npz"
    assert [row.step for row in found.rows][:2] == ["", "conv1"] and found.rows[1].speedup == 1.5


def test_what_is_in_int8_is_known_by_its_file_and_its_row(saved, mini):
    value = bench_json()
    value["networks"][1]["onnx"] = "/home/ada/out/model-int8.onnx"
    assert read_measured(saved("b.json", value), "bench").int8 == {"after"}
    value["networks"][1]["onnx"] = "/home/ada/out/model.onnx"
    assert read_measured(saved("b.json", value), "bench").int8 == set()
    value = table_json(read_converted(mini))
    value["rows"] += [value["rows"][-1] | {"step": "int8"}, value["rows"][-1] | {"step": "int8", "index": None}]
    assert [row.int8 for row in read_steps(saved("t.json", value)).rows[-3:]] == [False, False, True]


def test_networks_that_an_engine_refused_are_left_out(saved):
    value = profile_json()
    value["engines"][0]["networks"][1] = {"label": "after", "refused": "it has a layer of the type Odd"}
    assert [run.label for run in read_measured(saved("p.json", value), "profile").engines["ort"]] == ["before"]


def test_infinities_in_settings_do_not_matter(saved):
    value = profile_json() | {"settings": {"threads": 1, "budget": {"seconds": float("inf")}}}
    assert read_measured(saved("p.json", value), "profile").engines


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "3", '{"engines": 3}', "[" * 100_000, '{"engines": [], "networks": []}']
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ReadError, match=r"p.json: is (empty|not what `deepmerge profile … --json` writes)"):
        read_measured(tmp_path / "p.json", "profile")
    with pytest.raises(ReadError, match=r"p.json: is (empty|not what `deepmerge table … --json` writes)"):
        read_steps(tmp_path / "p.json")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_wrong_in_a_file_is_one_line(saved, data):
    """Some value, anywhere, is replaced by something of another kind."""
    value = copy.deepcopy(data.draw(st.sampled_from([profile_json(), bench_json()])))
    place = value
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(st.sampled_from([None, "x", -1, 0, [], {}, [3], {"a": 1}, float("nan"), 1e300, True]))
    try:
        read_measured(saved("p.json", json.loads(json.dumps(value))), "profile")
    except ReadError as error:
        assert "\n" not in str(error)
