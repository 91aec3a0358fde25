"""The ONNX model as a whole: names, batch, constants, refusals, files; and the zoo's networks against real Caffe."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from deepmerge.engines.ort import OrtEngine
from deepmerge.errors import EngineError
from deepmerge.formats.onnx import tensor_names, to_onnx, write_onnx
from deepmerge.formats.read.network import read_network
from tests.formats.onnx.cases import compare, images, inputs, judge, layer, network

ZOO = ["inception_mini", "squeezenet", "alexnet", "googlenet", "resnet50"]

IN_PLACE = (
    inputs((2, 3, 4, 5))
    + layer("shift", "Power", "power_param { shift: 1 }", "data", "data")
    + layer("conv", "Convolution", "convolution_param { num_output: 4 kernel_size: 2 }")
    + layer("bn", "BatchNorm", "", "conv", "conv")
    + layer("relu", "ReLU", "", "conv", "conv")
    + layer("pool", "Pooling", "pooling_param { kernel_size: 2 }", "conv")
)


def dims(value) -> list:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_names_of_blobs_written_in_place(tmp_path):
    graph = network(tmp_path, IN_PLACE)
    names = [(blob.name, tensor) for blob, tensor in tensor_names(graph).items()]
    assert names == [
        ("data", "data"),
        ("data", "data@2"),
        ("conv", "conv@1"),
        ("conv", "conv@2"),
        ("conv", "conv"),
        ("pool", "pool"),
    ]
    assert {blob.name: name for blob, name in tensor_names(graph).items()} == {
        "data": "data@2",
        "conv": "conv",
        "pool": "pool",
    }
    model = to_onnx(graph)
    assert [v.name for v in model.graph.input] == ["data"] and [v.name for v in model.graph.output] == ["pool"]
    assert [node.name for node in model.graph.node] == ["shift", "conv", "bn", "relu", "pool"]


def test_names_that_are_taken(tmp_path):
    text = (
        inputs((2, 3))
        + layer("conv@1", "ReLU")
        + layer("conv", "TanH", "", "conv@1")
        + layer("r", "ReLU", "", "conv", "conv")
    )
    names = list(tensor_names(network(tmp_path, text)).values())
    assert names == ["data", "conv@1", "conv@1_2", "conv"]


def test_batch_is_free_where_it_can_be(tmp_path):
    graph = network(tmp_path, IN_PLACE)
    model = to_onnx(graph)
    assert dims(model.graph.input[0]) == ["N", 3, 4, 5] and dims(model.graph.output[0]) == ["N", 4, 2, 3]
    fixed = to_onnx(graph, free_batch=False)
    assert dims(fixed.graph.input[0]) == [2, 3, 4, 5] and dims(fixed.graph.output[0]) == [2, 4, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        inputs((2, 3, 4, 5)) + layer("r", "Reshape", "reshape_param { shape { dim: 2 dim: -1 } }"),
        inputs((2, 3, 4, 5)) + layer("p", "Permute", "permute_param { order: 1 order: 0 order: 2 order: 3 }"),
        inputs((2, 3), (3, 3)) + layer("c", "Concat", "concat_param { axis: 0 }", "data data1"),
        inputs((2, 3)) + layer("ip", "InnerProduct", "inner_product_param { num_output: 2 axis: 0 }"),
        inputs((2,)) + layer("r", "ReLU"),
    ],
    ids=["Reshape", "Permute", "inputs that differ", "InnerProduct over all", "a vector"],
)
def test_batch_is_fixed_where_it_must_be(tmp_path, text):
    model = to_onnx(network(tmp_path, text))
    assert dims(model.graph.input[0])[0] == 2
    onnx.checker.check_model(model, full_check=True)


def test_constants(worker, tmp_path):
    text = inputs((2, 3)) + layer("p", "Parameter", "parameter_param { shape { dim: 2 dim: 3 } }", "")
    shape = "shape { dim: 2 dim: 3 }"
    dummy = f'dummy_data_param {{ {shape} data_filler {{ type: "constant" value: 0.3 }} data_filler {{ value: -2 }} }}'
    text += layer("d", "DummyData", dummy, "", "d1 d2")
    text += layer("zeros", "DummyData", "dummy_data_param { num: 2 channels: 3 height: 1 width: 4 }", "")
    text += layer("sum", "Eltwise", "", "data p d1 d2")
    judge(worker, tmp_path, text, images((2, 3)))


def test_random_data_is_refused(tmp_path):
    dummy = 'dummy_data_param { shape { dim: 2 } data_filler { type: "uniform" } }'
    graph = network(tmp_path, layer("d", "DummyData", dummy, "") + layer("r", "ReLU", "", "d"))
    with pytest.raises(EngineError, match=r"layer 'd' \(DummyData\): data from a 'uniform' filler"):
        to_onnx(graph)


def test_shared_weights(worker, tmp_path):
    """A layer that stores none has those of the layer that shares them."""
    params = 'param { name: "w" } param { name: "b" } inner_product_param { num_output: 3 }'
    text = (
        inputs((2, 3), (2, 3)) + layer("one", "InnerProduct", params) + layer("other", "InnerProduct", params, "data1")
    )
    graph = network(tmp_path, text)
    graph.layers[3].weights = []
    fed = images((2, 3), (2, 3))
    fed["data1"] = fed["data"]
    with OrtEngine().load(graph) as session:
        out = session.forward(fed)
    np.testing.assert_array_equal(out["one"], out["other"])
    caffe = worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")  # its sharers are equal by themselves
    assert np.array_equal(*caffe.forward(fed).values())


UNKNOWN = 'layer { name: "odd" type: "Odd" bottom: "data" top: "odd" odd_param { a: 1 } }'
STEP = "recurrent_param { num_output: 2 }"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UNKNOWN, r"^layer 'odd' \(Odd\): the type is not known"),
        (layer("f", "Filter", "", "data data"), r"^layer 'f' \(Filter\)"),
        (layer("py", "Python", 'python_param { module: "m" layer: "L" }'), r"^layer 'py' \(Python\)"),
        (inputs((4, 2, 3), (4, 2)) + layer("r", "LSTM", STEP, "data data1"), r"^layer 'r' \(LSTM\): recurrent"),
        (layer("a", "Accuracy", "", "data data"), r"^layer 'a' \(Accuracy\)"),
    ],
)
def test_types_that_cannot_be_written(tmp_path, text, message):
    (tmp_path / "net.prototxt").write_text(text if text.startswith(inputs((4, 2, 3))) else inputs((2, 1)) + text)
    graph = read_network(tmp_path / "net.prototxt")
    with pytest.raises(EngineError, match=message) as caught:
        to_onnx(graph)
    assert "\n" not in str(caught.value)


def test_a_network_without_weights_is_refused(models):
    graph = read_network(models / "inception_mini" / "inception_mini.prototxt")
    with pytest.raises(EngineError, match=r"\(Convolution\) has no weights; give the network its caffemodel"):
        to_onnx(graph)


def test_files_are_the_same_every_time(models, tmp_path):
    folder = models / "inception_mini"
    files = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for file in files:
        write_onnx(read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.onnx", "two.onnx"]
    onnx.checker.check_model(str(files[0]), full_check=True)


def test_large_models_have_their_weights_beside_them(models, tmp_path):
    """The limit is protobuf's 2 GB; here it is lower."""
    folder = models / "inception_mini"
    graph = read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")
    write_onnx(graph, tmp_path / "whole.onnx")
    for _ in range(2):  # a second time, over the first one's files
        write_onnx(graph, tmp_path / "net.onnx", limit=2**20)
    large, weights = tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    assert large.stat().st_size < 2**18 and 2**20 - 2**18 < weights.stat().st_size < 2**21
    onnx.checker.check_model(str(large), full_check=True)
    fed = images((3, 3, 32, 32), low=-120, high=130)
    runs = [
        onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, fed)[0]
        for p in (large, tmp_path / "whole.onnx")
    ]
    np.testing.assert_array_equal(*runs)


def test_the_emitters_do_not_load_onnx():
    program = "import sys, deepmerge.formats.write, deepmerge.engines; print('onnx' in sys.modules, 'onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False False\n"


# -- the zoo -----------------------------------------------------------------------------------------


def photographs(shared, count: int, size: int) -> np.ndarray:
    """CIFAR-10 test images as the zoo's networks take them: (count, 3, size, size), BGR less the mean."""
    image = pytest.importorskip("PIL.Image")
    path = shared / "data" / "cifar10_test.npz"
    if not path.is_file():
        pytest.skip(f"no images in {path}")
    with np.load(path) as file:
        coded, offsets = file["jpeg"].tobytes(), file["offsets"]
    places = (np.arange(size) + 0.5) * 32 / size - 0.5
    low = np.floor(places).astype(int)
    high_part = (places - low).astype(np.float32)[:, None]
    low, high = low.clip(0, 31), (low + 1).clip(0, 31)
    made = []
    for i in range(count):
        rgb = np.asarray(image.open(io.BytesIO(coded[offsets[i] : offsets[i + 1]])).convert("RGB"), np.float32)
        x = (rgb[:, :, ::-1] - np.float32([104, 117, 123])).transpose(2, 0, 1)
        for _ in range(2):  # height, then width
            x = (x[:, low] * (1 - high_part) + x[:, high] * high_part).transpose(0, 2, 1)
        made.append(x)
    return np.ascontiguousarray(made, np.float32)


def judge_zoo(worker, shared, zoo, name: str, count: int) -> float:
    """The largest relative difference of the outputs from real Caffe's."""
    files = zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel"
    if not files[1].is_file():
        pytest.skip(f"no {files[1]}")
    graph = read_network(*files)
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    caffe = worker.load(*files)
    with OrtEngine().load(graph) as session:
        ((data, shape),) = session.inputs.items()
        logits = graph.outputs[0].producer.bottom.name  # before the Softmax, which forgives
        blobs = [*session.outputs, logits]
        fed = {data: photographs(shared, count, shape[2])}
        found, expected = session.forward(fed, blobs), caffe.forward(fed, blobs)
    caffe.close()
    return max(compare(f"{name}, {blob}", found[blob], expected[blob]) for blob in blobs)


@pytest.mark.parametrize("name", ZOO)
def test_trained_networks(worker, shared, zoo, name):
    judge_zoo(worker, shared, zoo, name, 32 if name == "inception_mini" else 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_trained_networks_on_32_images(worker, shared, zoo, name):
    print(name, judge_zoo(worker, shared, zoo, name, 32))
