"""Whole comparisons: of a network with itself, with one weight changed, with other batches, under each engine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from deepmerge.data import ImageWishes
from deepmerge.engines.caffe import CaffeEngine
from deepmerge.errors import DeepmergeError, EngineError, GraphError, ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.graph import Layer
from deepmerge.measure.compare import Job, verify
from deepmerge.out.read import Pair
from tests.fork_nets import SSD_MOBILENET, fill
from tests.helpers import conv, inputs, layer, network

ENGINES = ["ort", "torch", "caffe"]


def needs(engine, request):
    """Skips a test whose engine is not there."""
    if engine == "caffe":
        request.getfixturevalue("real_caffe")
    if engine == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'deepmerge-caffe[torch]'")


@pytest.fixture(scope="module")
def mini(models):
    folder = models / "inception_mini"
    return Pair(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")


@pytest.fixture(scope="module")
def changed(mini, tmp_path_factory):
    """The same with one bias changed."""
    folder = tmp_path_factory.mktemp("changed")

    def make(layer="inception_3a/3x3", by=0.5):
        graph = read_network(mini.prototxt, mini.caffemodel)
        bias = graph.layer(layer).weights[1].copy()
        bias[3] += by
        graph.layer(layer).weights[1:] = [bias]
        pair = Pair(folder / "net.prototxt", folder / "net.caffemodel")
        write_pair(graph, pair.prototxt, pair.caffemodel)
        return pair

    return make


@pytest.fixture
def pair(tmp_path):
    """A network without weights from its text."""

    def make(text, name="net"):
        made = Pair(tmp_path / f"{name}.prototxt", tmp_path / f"{name}.caffemodel")
        made.prototxt.write_text(text)
        net = schema.message_class("NetParameter")(name="net", layer=[{"name": "data", "type": "Input"}])
        made.caffemodel.write_bytes(net.SerializeToString())
        return made

    return make


@pytest.mark.parametrize("layers", [False, True])
def test_a_network_equals_itself(mini, layers):
    report = verify(Job(mini, mini, layers=layers, random=3))
    assert report["ok"] and report["failures"] == [] and report["warnings"] == []
    assert (report["engine"], report["images"], report["tolerance"]) == ("ort", 3, 1e-5)
    (output,) = report["outputs"]
    assert output["name"] == output["b_name"] == "prob" and 0 < output["range"] <= 1
    assert output["max_abs"] == output["relative"] == output["mean_abs"] == 0
    assert output["top1_agreement"] == output["top5_agreement"] == 1
    assert report["first_difference"] is None
    assert all(entry["max_abs"] == 0 for entry in report["layers"])
    names = [entry["name"] for entry in report["layers"]]
    assert bool(names) is layers
    if layers:
        assert names[0] == "conv1/3x3" and names[-1] == "prob" and "data" not in names


def test_a_changed_weight_is_found(mini, changed):
    report = verify(Job(mini, changed(), layers=True))
    assert not report["ok"] and report["images"] == 8
    assert report["failures"][0].startswith("output 'prob' differs by ")
    layers = ["inception_3a/3x3", "inception_3a/relu_3x3"]
    assert report["first_difference"] == {"name": "inception_3a/3x3", "layers": layers}
    entries = {entry["name"]: entry for entry in report["layers"]}
    assert entries["inception_3a/3x3"]["max_abs"] == pytest.approx(0.5, rel=1e-3)
    assert entries["inception_3a/1x1"]["max_abs"] == 0


def test_tolerances(mini, changed):
    other = changed()
    apart = verify(Job(mini, other))["outputs"][0]["relative"]
    assert 1e-5 < apart < 0.1
    assert verify(Job(mini, other, tolerance=apart * 1.01))["ok"]
    assert not verify(Job(mini, other, tolerance=apart * 0.99))["ok"]
    report = verify(Job(mini, other, tolerance=math.inf, layers=True))
    assert report["ok"] and report["tolerance"] is None and report["first_difference"] is None


@pytest.mark.parametrize("tolerance", [1e-5, math.inf])
def test_nan_fails_whatever_the_tolerance(mini, changed, tolerance):
    report = verify(Job(mini, changed("loss3/classifier", math.nan), tolerance=tolerance, random=2))
    assert not report["ok"]
    assert report["failures"] == ["output 'prob' of B has 20 NaN among its values"]
    assert report["outputs"][0]["relative"] is None


def test_nan_in_an_inner_blob_fails(pair):
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }'
    text += 'layer { name: "minus" type: "Power" bottom: "x" top: "minus" power_param { scale: -1 shift: -1 } }'
    text += 'layer { name: "log" type: "Log" bottom: "minus" top: "log" }'
    text += 'layer { name: "clear" type: "Threshold" bottom: "log" top: "y" }'
    net = pair(text)
    assert verify(Job(net, net))["ok"]
    report = verify(Job(net, net, layers=True))
    assert [line.split(" has ")[0] for line in report["failures"]] == ["blob 'log' of A", "blob 'log' of B"]
    assert report["first_difference"]["name"] == "log"


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_all_engines_find_the_same(mini, changed, engine, request):
    needs(engine, request)
    other = changed()
    ort, found = (verify(Job(mini, other, engine=name, layers=True, random=4)) for name in ("ort", engine))
    assert found["engine"] == engine and not found["ok"]
    assert found["first_difference"]["name"] == ort["first_difference"]["name"]
    assert [e["name"] for e in found["layers"]] == [e["name"] for e in ort["layers"]]
    for one, other in zip(ort["outputs"] + ort["layers"], found["outputs"] + found["layers"], strict=True):
        assert one["range"] == pytest.approx(other["range"], rel=1e-4)
        assert one["max_abs"] == pytest.approx(other["max_abs"], abs=2e-5 * one["range"])
        assert one["mean_abs"] == pytest.approx(other["mean_abs"], abs=1e-5 * one["range"])
        assert one["top1_agreement"] == other["top1_agreement"]


def test_a_network_is_the_same_on_torch(mini):
    pytest.importorskip("torch")
    report = verify(Job(mini, mini, engine="torch", random=3, threads=2))
    assert report["ok"] and report["outputs"][0]["max_abs"] == 0


def test_real_caffe_reads_the_files_as_they_stand(mini, tmp_path, real_caffe):
    """A field that deepmerge passes on and Caffe refuses."""
    text = mini.prototxt.read_text().replace('name: "InceptionMini"', 'name: "InceptionMini"\nnot_a_field: 1')
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(EngineError, match="not_a_field"):
        verify(Job(mini, Pair(tmp_path / "net.prototxt", mini.caffemodel), engine="caffe"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_train_val_against_its_deploy(mini, models, tmp_path, engine, request):
    needs(engine, request)
    text = (models / "inception_mini" / "train_val.prototxt").read_text()
    sized = text.replace("mean_value: 104", "crop_size: 32 scale: 0.5 mean_value: 104")
    assert sized != text
    (tmp_path / "train_val.prototxt").write_text(sized)
    train_val = Pair(tmp_path / "train_val.prototxt", mini.caffemodel)
    reports = [verify(Job(a, b, engine=engine, random=2)) for a, b in ((train_val, mini), (mini, train_val))]
    for report in reports:
        (output,) = report["outputs"]
        assert report["ok"] and output["relative"] <= 1e-6
    plain = verify(Job(mini, mini, engine=engine, random=2))
    assert reports[0]["outputs"][0]["range"] == reports[1]["outputs"][0]["range"] != plain["outputs"][0]["range"]


def test_images_of_an_archive(mini, changed, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (11, 20, 24, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels)
    spec = f"npz:{tmp_path / 'a.npz'}"
    seen = []
    report = verify(Job(mini, changed(), images=spec, limit=9), lambda *args: seen.append(args))
    assert report["images"] == 9 and report["skipped"] == 0 and not report["ok"]
    assert seen == [("loading", 0, 9), ("images", 0, 9), ("images", 8, 9), ("rounding", 0, 1)]
    other = verify(Job(mini, changed(), images=spec, limit=9, wishes=ImageWishes(mean=(0,))))
    assert other["outputs"][0]["mean_abs"] != report["outputs"][0]["mean_abs"]


def test_images_that_cannot_be_read(mini, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32), (200, 10, 90)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    job = Job(mini, mini, images=f"folder:{tmp_path}")
    report = verify(job)
    assert report["ok"] and report["images"] == 1 and report["skipped"] == 1
    assert report["warnings"][0].startswith("1 of 2 images could not be read, and were left out; the first: ")
    with pytest.raises(ReadError, match=r"--strict: .*bad\.png"):
        verify(replace(job, strict=True))
    (tmp_path / "good.png").unlink()
    with pytest.raises(ReadError, match="none of the 1 images could be read; the first: .*bad"):
        verify(job)


TWO_INPUTS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "gate" type: "Input" top: "gate" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "gated" type: "Scale" bottom: "data" bottom: "gate" top: "gated" scale_param { axis: 0 } }
layer { name: "sum" type: "Reduction" bottom: "gated" top: "sum" reduction_param { axis: 1 } }
"""
FIXED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 8 } } }
layer { name: "square" type: "Reshape" bottom: "data" top: "square" reshape_param { shape { dim: 3 dim: 2 dim: 4 } } }
layer { name: "half" type: "Power" bottom: "square" top: "y" power_param { scale: %s } }
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_networks_with_several_inputs(pair, engine, request):
    needs(engine, request)
    net = pair(TWO_INPUTS)
    report = verify(Job(net, net, engine=engine, random=5, layers=True))
    assert report["ok"] and report["images"] == 5 and [e["name"] for e in report["layers"]] == ["gated", "sum"]
    assert report["outputs"][0]["range"] > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_networks_that_hold_at_one_batch_only(pair, engine, request):
    needs(engine, request)
    a, b = pair(FIXED % 0.5, "a"), pair(FIXED % 0.25, "b")
    report = verify(Job(a, b, engine=engine, random=4))
    assert report["images"] == 4 and report["outputs"][0]["max_abs"] == pytest.approx(0.25, rel=0.1)


def test_outputs_of_other_names_are_warned_of(pair):
    a, b = pair(TWO_INPUTS, "a"), pair(TWO_INPUTS.replace('top: "sum"', 'top: "total"'), "b")
    report = verify(Job(a, b))
    assert report["ok"] and (report["outputs"][0]["name"], report["outputs"][0]["b_name"]) == ("sum", "total")
    assert report["warnings"] == ["output 'sum' of A is compared with 'total' of B, going by position"]
    with pytest.raises(GraphError, match="--strict: output 'sum'"):
        verify(Job(a, b, strict=True))


@pytest.mark.parametrize("engine", ["ort", "torch"])
def test_a_detector_is_compared_up_to_its_detections(tmp_path, engine, request):
    """No engine here has SSD's last layer, whose shape only a run would show."""
    needs(engine, request)
    (tmp_path / "ssd.prototxt").write_text(SSD_MOBILENET)
    graph = fill(read_network(tmp_path / "ssd.prototxt"))
    pairs = [Pair(tmp_path / f"{name}.prototxt", tmp_path / f"{name}.caffemodel") for name in ("same", "other")]
    write_pair(graph, *pairs[0])
    graph.layer("conv1").weights = [graph.layer("conv1").weights[0] * np.float32(1.01)]
    write_pair(graph, *pairs[1])
    report = verify(Job(pairs[0], pairs[0], engine=engine, random=2))
    standing = {"mbox_loc": ["detection_out"], "mbox_conf_flatten": ["detection_out"]}
    assert report["ok"] and {entry["name"]: entry["stands_for"] for entry in report["outputs"]} == standing
    assert report["warnings"] == [
        f"'mbox_loc', 'mbox_conf_flatten' stand for output 'detection_out': engine {engine!r} cannot run layers of type "
        "PriorBox, DetectionOutput"
    ]
    assert len(verify(Job(*pairs, engine=engine, random=2))["failures"]) == 2


def test_real_caffe_is_asked_for_its_layer_types(pair, real_caffe):
    text = TWO_INPUTS + 'layer { name: "seen" type: "DetectionOutput" bottom: "sum" top: "seen" }'
    text += 'layer { name: "turned" type: "Permute" bottom: "gated" top: "turned" permute_param { order: 0 order: 2 } }'
    has_permute = CaffeEngine().lacks(Layer("turned", "Permute")) is False
    report = verify(Job(pair(text), pair(text), engine="caffe", random=2))
    assert [entry["name"] for entry in report["outputs"]] == ["sum"] + ["turned"] * has_permute
    assert report["warnings"][0].startswith("'sum' stands for output 'seen': engine 'caffe' cannot run layers of type ")


MEAN = 20_000.0  # floats around it are 2^-9 apart


def shifted(folder, mean, error=0.0, more=""):
    """A convolution, a mean added and a BatchNorm that takes it away; and the convolution alone, but for an error."""
    start = inputs((1, 3, 6, 5)) + more
    text = conv("conv", "data", 4, "kernel_size: 3") + layer("far", "Power", "conv", f"shift: {mean}")
    graph = network(folder, start + text + layer("bn", "BatchNorm", "far", "eps: 0", tops="y"))
    weights = np.random.default_rng(0).uniform(-0.01, 0.01, (4, 3, 3, 3)).astype(np.float32)
    graph.layer("conv").weights = [weights, np.zeros(4, np.float32)]
    graph.layer("bn").weights = [np.full(4, mean, np.float32), np.ones(4, np.float32), np.ones(1, np.float32)]
    a = written(graph, folder / f"a{mean}")
    folded = network(folder, start + conv("conv", "data", 4, "kernel_size: 3", top="y"))
    folded.layer("conv").weights = [weights, np.full(4, error, np.float32)]
    return a, written(folded, folder / f"b{mean}")


def written(graph, path):
    write_pair(graph, path.with_suffix(".prototxt"), path.with_suffix(".caffemodel"))
    return Pair(path.with_suffix(".prototxt"), path.with_suffix(".caffemodel"))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_rounding_alone_explains_is_no_failure(tmp_path, engine, request):
    needs(engine, request)
    job = Job(*shifted(tmp_path, MEAN), engine=engine)
    report = verify(job)
    (output,) = report["outputs"]
    assert output["relative"] > 5 * report["tolerance"] and report["ok"] and report["failures"] == []
    assert output["relative"] / 2 <= output["rounding"] <= 1.01 * 2**-10 / output["range"]
    assert not verify(replace(job, tolerance=0))["ok"]


def test_an_error_of_the_same_size_is_a_failure_where_rounding_is_small(tmp_path):
    (rough,) = verify(Job(*shifted(tmp_path, MEAN)))["outputs"]
    report = verify(Job(*shifted(tmp_path, 0.0, error=rough["max_abs"])))
    (output,) = report["outputs"]
    assert not report["ok"] and 0 < output["rounding"] < 1e-6
    assert output["relative"] == pytest.approx(rough["relative"], rel=0.01)


def test_an_error_above_rounding_is_a_failure(tmp_path):
    report = verify(Job(*shifted(tmp_path, MEAN, error=3e-3)))
    (output,) = report["outputs"]
    assert not report["ok"] and output["relative"] > 2 * output["rounding"] > 1e-4


def test_rounding_is_measured_only_where_it_may_decide(mini, changed, monkeypatch):
    monkeypatch.setattr("deepmerge.measure.compare.compare.rounding", lambda *_: pytest.fail("it was measured"))
    assert verify(Job(mini, mini))["outputs"][0]["rounding"] is None
    assert verify(Job(mini, changed(by=50)))["outputs"][0]["rounding"] is None


def test_rounding_that_cannot_be_measured_is_said(tmp_path):
    """The mask of a Pooling is not made in float64."""
    pool = layer("pool", "Pooling", "data", "kernel_size: 2", "pool mask")
    report = verify(Job(*shifted(tmp_path, MEAN, more=pool)))
    assert not report["ok"] and {entry["rounding"] for entry in report["outputs"]} == {None}
    (line,) = report["warnings"]
    assert line.startswith("how far rounding alone takes A could not be measured: ") and "mask" in line


def test_what_cannot_be_compared(mini, pair, tmp_path):
    with pytest.raises(GraphError, match="A's inputs are 'data', B's 'data', 'gate'"):
        verify(Job(mini, pair(TWO_INPUTS)))
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(ReadError, match="images feed one input, and network .* has 2 .data, gate.; use --random"):
        verify(Job(pair(TWO_INPUTS), pair(TWO_INPUTS), images=f"npz:{tmp_path / 'a.npz'}"))
    with pytest.raises(DeepmergeError, match=r"'conv1/3x3.*has none of that name"):
        verify(Job(mini, replace(mini, caffemodel=pair(TWO_INPUTS).caffemodel)))
