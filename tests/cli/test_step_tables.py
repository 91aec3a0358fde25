from __future__ import annotations

from deepmerge.cli.step_tables import cleanup_line, cost_table, costly_table, refusal_table, step_table

BEFORE = {
    "layers": 10,
    "params": 4_000_000,
    "macs": 200_000_000,
    "storage_bytes": 16_000_000,
    "activation_bytes": {"caffe": 8_000_000, "unique": 4_000_000, "planned": 0},
}
AFTER = {
    **BEFORE,
    "layers": 9,
    "macs": 50_000_000,
    "activation_bytes": {"caffe": 2_000_000, "unique": 4_000_000, "planned": 0},
}


def test_steps():
    merged = [f"inception_3a/some_layer_{i}" for i in range(4)]
    steps = [
        {"index": 1, "name": "conv1", "exact": True, "merged": ["bn1"], "after": BEFORE},
        {"index": 2, "name": "inception_3a", "exact": False, "merged": merged, "after": AFTER},
    ]
    assert [line.rstrip("-") for line in step_table(steps, BEFORE).splitlines()] == [
        "   step          exact  layers      MACs    left  merged",
        "-  ------------  -----  ------  --------  ------  ",
        "1  conv1         yes        10  200.00 M  100.0%  bn1",
        "2  inception_3a  no          9   50.00 M   25.0%  inception_3a/some_layer_0, inception_3a/some_layer_1 … (4 layers)",
    ]
    assert step_table(steps, BEFORE, full=True).endswith(", ".join(merged))


def test_the_exact_cleanup_is_one_line():
    names = (("remove_dropout", "drop6"), ("remove_identity", "split"), ("remove_dropout", "drop7"))
    cleanup = [{"pass": name, "layers": [layer]} for name, layer in names]
    assert cleanup_line(cleanup) == "exact cleanup: remove_dropout (2), remove_identity (1)"
    assert cleanup_line(cleanup, full=True) == "exact cleanup: remove_dropout (drop6, drop7), remove_identity (split)"


def test_costs():
    lines = [line.split("  ") for line in cost_table(BEFORE, AFTER).splitlines()]
    rows = {line[0]: [cell.strip() for cell in line[1:] if cell] for line in lines[2:]}
    assert rows["layers"] == ["10", "9", "90.0%"]
    assert rows["MACs, one image"] == ["200.00 M", "50.00 M", "25.0%"]
    assert rows["activations, planned"] == ["0.00 MB", "0.00 MB", "–"]
    assert len(rows) == 7


def test_refusals_for_one_reason_share_a_row():
    refusals = [{"pass": "merge_lrn", "layer": f"norm{i}", "reason": "it is kept"} for i in range(2)]
    refusals.insert(1, {"pass": "merge_pooling", "layer": "pool1", "reason": "it is kept"})
    assert refusal_table(refusals).splitlines() == [
        "layer         pass           left alone, because",
        "------------  -------------  -------------------",
        "norm0, norm1  merge_lrn      it is kept",
        "pool1         merge_pooling  it is kept",
    ]


def test_many_refusals_that_differ_in_names_and_numbers_are_shown_as_one():
    refusals = [
        {"pass": "merge_lrn", "layer": f"norm{i}", "reason": f"'conv{i}' (1x1) needs {i},000 MACs, not 0.{i}"}
        for i in range(5)
    ]
    assert refusal_table(refusals).splitlines()[2:] == [
        "norm0, norm1, norm2, norm3, norm4  merge_lrn  … (1x1) needs … MACs, not …"
    ]
    assert len(refusal_table(refusals, full=True).splitlines()) == 2 + 5
    assert len(refusal_table(refusals[:3]).splitlines()) == 2 + 3
    same = [{**one, "reason": "it has axis 2"} for one in refusals]
    assert refusal_table(same).endswith("it has axis 2")


def test_costly_steps_say_how_to_have_them():
    text = costly_table([{"name": "fire2", "reason": "its layers would need 2 MACs, not 1"}])
    assert "--steps all,fire2" in text.splitlines()[0]
    assert text.splitlines()[2] == "fire2        its layers would need 2 MACs, not 1"
