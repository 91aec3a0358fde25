from __future__ import annotations

from deepmerge.measure.bench.tables import figures, markdown, notes, tables


def network(label, size):
    sizes = {
        "layers": size,
        "params": size * 10**6,
        "macs": size * 10**7,
        "storage_bytes": 4 * size * 10**6,
        "file_bytes": 5 * size * 10**6,
    }
    return {
        "label": label,
        **sizes,
        "activation_bytes": {"caffe": 3 * size * 10**6, "unique": 2 * size * 10**6, "planned": size * 10**6},
        "accuracy": None,
    }


def measured(label, seconds, ratio=None):
    return {
        "label": label,
        "refused": None,
        "forward": {"median": seconds, "low": 0.9 * seconds, "high": 1.2 * seconds, "count": 9},
        "ratio": ratio and {"value": ratio, "low": 0.9 * ratio, "high": 1.25 * ratio, "pairs": 9},
        "memory": {"engine": 10, "peak": 30_000_000, "running": None, "network": 2_000_000},
        "energy": {"not_available": "not available, because"},
        "largest_batch": {"images": 7},
    }


REPORT = {
    "networks": [network("a|b", 4), network("c", 1)],
    "engines": [
        {"engine": "caffe", "absent": None, "networks": [measured("a|b", 0.1), measured("c", 0.025, 0.25)]},
        {
            "engine": "mnn",
            "absent": None,
            "networks": [{"label": "a|b", "refused": "does not know LRN"}, measured("c", 0.0123456)],
        },
        {"engine": "ncnn", "absent": "needs ncnn: pip install ncnn pnnx", "networks": []},
    ],
}


def test_times_and_sizes():
    times, sizes, loads = tables(REPORT)
    assert times.head == ["time, ms", "caffe", "times as fast", "mnn", "times as fast"]
    assert times.rows == [["a|b", "100", "1", "–", "–"], ["c", "25.0", "4.00 (3.20–4.44)", "12.3", "1"]]
    assert sizes.rows[1] == ["c", "1.00 M", "10.00 M", "4.00 MB", "25.0%", "3.00 MB", "2.00 MB", "1.00 MB", "25.0%"]
    assert loads.head == [
        "engine",
        "network",
        "peak memory",
        "without the engine",
        "largest batch",
    ]  # nothing to say of the others
    assert loads.rows[0] == ["caffe", "a|b", "30.00 MB", "2.00 MB", "7"]


def test_what_was_not_measured_is_told_once():
    assert notes(REPORT) == [
        "energy: not available, because",
        "mnn, a|b: does not know LRN",
        "ncnn: needs ncnn: pip install ncnn pnnx",
    ]


def test_markdown_and_accuracy():
    scored = {
        **REPORT,
        "networks": [
            {**REPORT["networks"][0], "accuracy": {"top": {1: 0.5, 5: 0.75}, "images": 8}},
            REPORT["networks"][1],
        ],
    }
    text = markdown(scored, "A machine.")
    assert text.startswith("A machine.\n\n| time, ms | caffe |") and "| a\\|b | 100 | 1 | – | – |" in text
    assert (
        "| accuracy | top-1 | top-5 | images |\n| --- | ---: | ---: | ---: |\n| a\\|b | 50.00% | 75.00% | 8 |\n| c | – | – | – |"
        in text
    )
    assert text.endswith("- ncnn: needs ncnn: pip install ncnn pnnx")


def test_accuracy_of_networks_that_differ_in_classes():
    tops = {"a|b": {1: 0.5, 5: 0.75}, "c": {1: 0.4, 4: 0.6}}
    scored = [{**one, "accuracy": {"top": tops[one["label"]], "images": 8}} for one in REPORT["networks"]]
    accuracy = tables({**REPORT, "networks": scored})[-1]
    assert accuracy.head == ["accuracy", "top-1", "top-5", "top-4", "images"]
    assert accuracy.rows == [["a|b", "50.00%", "75.00%", "–", "8"], ["c", "40.00%", "–", "60.00%", "8"]]


def test_figures():
    lines = list(figures(REPORT))
    assert ("c", "caffe", "ratio", 0.25, "", 0.225, 0.3125) in lines
    assert ("a|b", "caffe", "largest_batch", 7, "", "", "") in lines
    assert all(len(line) == 7 for line in lines)
    assert not any(line[1] == "mnn" and line[0] == "a|b" for line in lines)


def test_nothing_measured_on_any_engine():
    assert [one.head[0] for one in tables({"networks": [network("a", 1)], "engines": []})] == ["size"]
