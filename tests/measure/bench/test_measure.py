from __future__ import annotations

from dataclasses import replace

import pytest

from deepmerge.engines.timing.timing import Budget
from deepmerge.graph.costs import summary
from deepmerge.measure.bench import Settings, bench
from deepmerge.measure.bench.energy import NoMeter
from deepmerge.measure.bench.measure import about, batch_of
from deepmerge.measure.harness.networks import Source, read_networks, with_batch

QUICK = Budget(narrow=-1, least=2, most=2)


@pytest.fixture(scope="module")
def nets(models):
    mini = models / "inception_mini"
    prototxt, caffemodel = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    return read_networks([Source("a", prototxt, caffemodel), Source("b", prototxt, None)])


def test_a_report(nets, monkeypatch):
    def no_meter(device):
        raise NoMeter("it is a test")

    monkeypatch.setattr("deepmerge.measure.bench.measure.find_meter", no_meter)
    report = bench(nets, Settings(("ort",), budget=QUICK))
    assert [network["random_weights"] for network in report["networks"]] == [False, True]
    first = report["networks"][0]
    assert {key: first[key] for key in summary(nets[0].graph)} == summary(nets[0].graph)
    assert first["file_bytes"] > first["storage_bytes"]
    one, two = report["engines"][0]["networks"]
    assert one["ratio"] is None and two["ratio"]["pairs"] == 2 and one["forward"]["median"] > 0
    assert one["energy"] == {"not_available": "not available on this machine, because it is a test"}
    memory = one["memory"]
    assert (
        memory.get("not_available") or memory["peak"] >= memory["engine"] > 1e7 and memory["network"] < memory["peak"]
    )
    assert "largest_batch" not in one


def test_only_what_is_asked_for(nets):
    report = bench(nets[:1], Settings(("ort",), ("time",), budget=QUICK))
    assert set(report["engines"][0]["networks"][0]) == {"label", "refused", "forward", "ratio", "waited"}


def test_energy_is_a_reading(nets, monkeypatch):
    class Meter:
        name, used = "a meter", 0.0

        def joules(self):
            self.used += 3.0
            return self.used

    monkeypatch.setattr("deepmerge.measure.bench.measure.find_meter", lambda device: Meter())
    report = bench(nets[:1], Settings(("ort",), ("energy",), energy_seconds=0.01))
    energy = report["engines"][0]["networks"][0]["energy"]
    assert (
        energy["joules_per_image"] == 3.0 / energy["images"] and energy["meter"] == "a meter" and energy["images"] >= 2
    )


def test_images_in_a_batch(nets):
    assert batch_of(nets[0]) == 1
    assert with_batch(nets[0].graph, 5).inputs[0].producer.params.shape[0][0] == 5


def test_an_onnx_file_counts_with_the_weights_beside_it(nets, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(30))
    net = replace(nets[0], source=replace(nets[0].source, onnx=file))
    files = {net.label: (net.source.prototxt, net.source.caffemodel, file)}
    assert about(net, files)["file_bytes"] == 30
    (tmp_path / "model.onnx.data").write_bytes(bytes(400))
    found = about(net, files)
    assert found["storage_bytes"] == found["file_bytes"] == 430
