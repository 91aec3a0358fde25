from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from deepmerge.errors import ReadError
from deepmerge.page.checked import checked, is_number


@pytest.fixture
def report(mini):
    return json.loads((mini / "report.json").read_text())


def test_what_is_absent_is_empty(report):
    for key in ("before", "after", "cleanup", "refusals", "warnings", "network"):
        report.pop(key)
    made = checked(report, Path("out"))
    assert (made["before"], made["refusals"]) == ({}, []) and "before" not in report


@pytest.mark.parametrize(
    "path, value",
    [
        (("network",), 3),
        (("before",), []),
        (("before", "macs"), "many"),
        (("after", "activation_bytes"), {"caffe": None}),
        (("after", "layers"), float("nan")),
        (("steps", 0, "merged"), ["conv1", 2]),
        (("steps", 0, "after"), "none"),
        (("refusals",), [{"pass": "merge_lrn", "layer": "norm1"}]),
        (("cleanup",), [{"pass": "remove_dropout", "layers": "drop"}]),
        (("warnings",), [None]),
        (("onnx",), []),
        (("onnx",), {"int8": "good"}),
        (("choice",), "the best"),
    ],
)
def test_what_is_of_another_kind_is_refused(report, path, value):
    broken = copy.deepcopy(report)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ReadError, match=rf"report.json: is not a report of a conversion: '{path[0]}' is not"):
        checked(broken, Path("out"))


def test_numbers():
    assert is_number(0) and is_number(2.5)
    assert not any(map(is_number, (True, "1", None, float("inf"), float("nan"), 10**400)))
