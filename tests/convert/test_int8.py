"""convert --emit onnx-int8: the file, what the report says, and what is refused."""

from __future__ import annotations

import filecmp
from dataclasses import replace

import numpy as np
import onnx
import pytest

from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.convert.int8 import write_int8
from deepmerge.engines import engine
from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EmitError, PlanError
from deepmerge.formats import INT8, INT8_FILE
from deepmerge.formats.onnx import to_onnx, write_model
from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.helpers import conv, inputs, layer, network

SETTINGS = Settings(("caffe", INT8), steps=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), np.uint8)
    file = tmp_path_factory.mktemp("photos") / "photos.npz"
    np.savez(file, images=pixels)
    return f"npz:{file}"


@pytest.fixture
def job(models, photos, tmp_path):
    pair = [models / "inception_mini" / f"inception_mini.{end}" for end in ("prototxt", "caffemodel")]
    images = CalibrationImages(photos, pair[0])
    return Job(*pair, tmp_path / "out", Wishes(exact=True), settings=SETTINGS, calibration=images)


def test_the_file_and_what_the_report_says(job):
    entry = convert(job)["onnx"]["int8"]
    assert entry == read_converted(job.out).report["onnx"]["int8"]
    assert {key: entry[key] for key in ("method", "keep", "calibrated", "held_out")} == {
        "method": "average",
        "keep": [],
        "calibrated": 19,
        "held_out": 18,
    }
    assert [one["name"] for one in entry["outputs"]] == ["prob"]
    model = onnx.load(job.out / INT8_FILE)
    onnx.checker.check_model(model, full_check=True)
    assert (job.out / INT8_FILE).stat().st_size < 0.4 * (job.out / "weights.caffemodel").stat().st_size


def test_the_figures_are_those_of_the_images_held_out(job):
    entry = convert(job)["onnx"]["int8"]["outputs"][0]
    graph = read_converted(job.out).final.read()
    images = np.concatenate([batch[:count] for batch, count in job.calibration.half(1, graph)])
    with engine().load(graph) as exact, OrtEngine().load_onnx(job.out / INT8_FILE, graph) as rough:
        a, b = (session.forward({"data": images})["prob"].astype(np.float64) for session in (exact, rough))
    assert entry["top1"] == (a.argmax(1) == b.argmax(1)).mean()
    assert entry["error"] == pytest.approx(np.sqrt(((a - b) ** 2).sum() / (a**2).sum()), rel=6e-3)


def test_halves_share_no_image_and_leave_none_out(job):
    convert(job)
    graph = read_converted(job.out).final.read()
    first, second = (
        [image.tobytes() for batch, count in job.calibration.half(which, graph) for image in batch[:count]]
        for which in (0, 1)
    )
    assert (len(first), len(second)) == (19, 18) and len({*first, *second}) == 37


def test_the_same_command_gives_the_same_bytes(job, tmp_path):
    convert(job)
    convert(replace(job, out=tmp_path / "again", calibration=CalibrationImages(job.calibration.spec, job.prototxt)))
    assert filecmp.cmp(job.out / INT8_FILE, tmp_path / "again" / INT8_FILE, shallow=False)


def test_layers_and_types_may_be_kept(job):
    entry = convert(replace(job, settings=replace(SETTINGS, int8_keep=("conv1/3x3", "InnerProduct"))))["onnx"]["int8"]
    assert entry["keep"] == ["conv1/3x3", "InnerProduct"]
    model = onnx.load(job.out / INT8_FILE)
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    kept = {node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in stored}
    assert "conv1/3x3" in kept and len(kept) == 2


def test_what_is_refused_leaves_no_out(job, photos, tmp_path):
    with pytest.raises(EmitError, match="onnx-int8 needs images to calibrate on.*--calibration SPEC"):
        convert(replace(job, calibration=None))
    with pytest.raises(EmitError, match="there is one alone"):
        convert(replace(job, calibration=CalibrationImages(photos, job.prototxt, count=1)))
    with pytest.raises(PlanError, match="--int8-keep: .* has no layer or type 'conv1'"):
        convert(replace(job, settings=replace(SETTINGS, int8_keep=("conv1",))))
    assert not job.out.exists()


def test_without_caffe_files(job):
    convert(replace(job, settings=Settings((INT8,))))
    assert {file.name for file in job.out.iterdir()} == {INT8_FILE, "recipe.toml", "report.json"}


def test_a_network_bound_to_its_batch(photos, tmp_path):
    shape = "shape { dim: 4 dim: 6 dim: -1 }"
    text = inputs((4, 3, 32, 32)) + conv("a", "data", 6) + layer("flat", "Reshape", "a", shape)
    graph = network(tmp_path, text)
    images = CalibrationImages(photos, tmp_path / "net.prototxt")
    images.prepare(graph)
    entry = write_int8(graph, tmp_path / "int8.onnx", images, SETTINGS)
    assert (entry["calibrated"], entry["held_out"]) == (19, 18)
    assert entry["outputs"][0]["top1"] is None and 0 < entry["outputs"][0]["error"] < 0.02


def test_outputs_are_named_in_the_networks_order(photos, tmp_path):
    text = inputs((1, 3, 32, 32)) + conv("z", "data", 4) + layer("b", "InnerProduct", "z", "num_output: 3")
    text += layer("a", "InnerProduct", "z", "num_output: 5")
    graph = network(tmp_path, text)
    write_model(to_onnx(graph), tmp_path / "a.onnx")
    fed = {"data": np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)}
    with engine().load(graph) as own, OrtEngine().load_onnx(tmp_path / "a.onnx", graph) as other:
        for name, value in own.forward(fed).items():
            np.testing.assert_array_equal(other.forward(fed)[name], value)
        assert other.fixed_batch is None and other.time_once() > 0
