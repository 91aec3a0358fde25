"""Caffemodel bytes → arrays. protobuf and real Caffe write what is read here."""

from __future__ import annotations

import random
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write.wire import block, key, prefix, varint

AGAIN = "; get the file again"


def net(*layers, **fields):
    return schema.message_class("NetParameter")(layer=[dict(layer) for layer in layers], **fields)


def read(folder, data):
    path = folder / "net.caffemodel"
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return read_caffemodel(path)


def one_blob(folder, **fields):
    (layer,) = read(folder, net({"name": "l", "type": "T", "blobs": [fields]}))
    (blob,) = layer.blobs
    return blob


def refused(folder, data) -> str:
    with pytest.raises(ReadError) as caught:
        read(folder, data)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'net.caffemodel'}: ") and "\n" not in text
    return text.removeprefix(f"{folder / 'net.caffemodel'}: ")


def raw_blob(payload: bytes) -> bytes:
    """A caffemodel of one layer `l` with one blob of these bytes."""
    return block(100, block(1, b"l") + block(7, payload))


def test_layers(tmp_path):
    layers = [
        {"name": "data", "type": "Data", "top": ["data"], "phase": 0},
        {"name": "conv", "type": "Convolution", "phase": 1, "blobs": [{"shape": {"dim": [2, 3]}, "data": range(6)}, {"shape": {"dim": [1]}, "data": [0.1]}]},
        {"name": "é"},
    ]  # fmt: skip
    data, conv, other = read(tmp_path, net(*layers, name="net"))
    assert (data.name, data.type, data.blobs, data.phase) == ("data", "Data", [], "TRAIN")
    assert (conv.name, conv.type, conv.phase) == ("conv", "Convolution", "TEST")
    assert conv.blobs[0].tolist() == [[0, 1, 2], [3, 4, 5]] and conv.blobs[1] == np.float32(0.1)
    assert all(blob.dtype == np.float32 and not blob.flags.writeable for blob in conv.blobs)
    assert (other.name, other.type, other.phase) == ("é", "", "")


@pytest.mark.pitfall("row", 8)
def test_weights_are_views_on_the_file(tmp_path):
    tracemalloc.start()
    read(tmp_path, net({"name": "l", "blobs": [{"shape": {"dim": [500_000]}, "data": np.zeros(500_000)}]}))
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    layers = read_caffemodel(tmp_path / "net.caffemodel")
    used = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert layers[0].blobs[0].nbytes == 2_000_000 and used < 100_000


def test_what_worker_saves(tmp_path, models, worker):
    folder = models / "inception_mini"
    with worker.load(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel") as session:
        session.save(tmp_path / "saved.caffemodel")
        params, info = session.params(), session.info()
    stored = {layer.name: layer for layer in read_caffemodel(tmp_path / "saved.caffemodel")}
    types = {layer["name"]: layer["type"] for layer in info["layers"]}
    assert {name for name, layer in stored.items() if layer.blobs} == set(params)
    assert all(layer.type == types[name] and layer.phase == "TEST" for name, layer in stored.items())
    for name, blobs in params.items():
        assert all(np.array_equal(a, b) for a, b in zip(stored[name].blobs, blobs, strict=True))


@pytest.mark.pitfall("row", 10)
def test_legacy_sizes_override_the_shape(tmp_path):
    blob = one_blob(tmp_path, num=1, channels=2, height=3, width=1, shape={"dim": [6]}, data=range(6))
    assert blob.shape == (1, 2, 3, 1)
    assert one_blob(tmp_path, num=1, channels=0, shape={"dim": [1]}).shape == (1, 0, 0, 0)


@pytest.mark.pitfall("row", 10)
def test_doubles_win(tmp_path):
    blob = one_blob(tmp_path, shape={"dim": [2]}, data=[1, 2, 3], double_data=[0.1, 1e300])
    assert blob.dtype == np.float32 and blob.tolist() == [np.float32(0.1), np.inf]


@pytest.mark.pitfall("row", 10)
def test_doubles_are_rounded_as_worker_rounds_them(tmp_path, worker):
    """Ties, numbers that float32 has not, subnormal ones, and those that are too large."""
    values = np.array([0.1, 1 + 2**-24, 1 + 3 * 2**-24, -1e-40, 1e-46, 3.4028235677973366e38, -1e300, 1 / 3])
    shape = {"dim": [2, 4]}
    stored = {
        "name": "fc",
        "type": "InnerProduct",
        "blobs": [{"shape": shape, "data": np.ones(8), "double_data": values}],
    }
    ours = read(tmp_path, net(stored))[0].blobs[0]
    text = """layer { name: "in" type: "Input" top: "in" input_param { shape { dim: [1, 4] } } }
        layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc" inner_product_param { num_output: 2 bias_term: false } }"""
    (tmp_path / "net.prototxt").write_text(text)
    with worker.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel") as session:
        (theirs,) = session.params()["fc"]
    assert ours.tobytes() == theirs.tobytes() and np.isinf(ours).sum() == 2


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (1, 1, 1, 1), (2, 1, 3, 1, 2), (1,) * 32])
def test_shapes(tmp_path, shape):
    count = int(np.prod(shape))
    assert one_blob(tmp_path, shape={"dim": shape}, data=range(count)).shape == shape


def test_values_one_by_one_and_in_chunks(tmp_path):
    shape = block(7, b"\x08\x02" + key(1, 0) + varint(3))  # the sizes 2 and 3, not packed
    single = b"".join(key(5, 5) + struct.pack("<f", value) for value in range(3))
    chunks = block(5, b"") + block(5, struct.pack("<2f", 3, 4)) + block(5, struct.pack("<f", 5))
    (layer,) = read(tmp_path, raw_blob(single + shape + chunks))
    assert layer.blobs[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_shapes_in_two_parts_are_one(tmp_path):
    (layer,) = read(tmp_path, raw_blob(block(7, b"\x0a\x01\x02") + block(7, b"\x0a\x01\x01") + block(5, bytes(8))))
    assert layer.blobs[0].shape == (2, 1)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        ({"shape": {"dim": [3]}, "data": [1, 2]}, "claims 3 values, its shape being (3,), but stores 2"),
        ({"shape": {"dim": [10**6, 10**6]}, "data": [1]}, "claims 1000000000000 values, its shape being (1000000, 1000000), but stores 1"),
        ({"shape": {"dim": [2**62] * 4}}, f"claims {2**248} values, its shape being {(2**62,) * 4}, but stores 0"),
        ({"num": 2**31 - 1, "channels": 2**31 - 1, "height": 1, "width": 1}, f"claims {(2**31 - 1) ** 2} values, its shape being (2147483647, 2147483647, 1, 1), but stores 0"),
        ({"shape": {"dim": [-1, -1]}, "data": [1]}, "claims the impossible shape (-1, -1)"),
        ({"shape": {"dim": [0, 2**62]}}, "claims the impossible shape (0, 4611686018427387904)"),
        ({"num": -1}, "claims the impossible shape (-1, 0, 0, 0)"),
        ({"shape": {"dim": [1] * 33}, "data": [1]}, "has more than 32 axes"),
        ({"shape": {"dim": [1] * 100_000}, "data": [1]}, "has more than 32 axes"),
        ({"data": [1, 2]}, "claims 1 values, its shape being (), but stores 2"),
        ({}, "claims 1 values, its shape being (), but stores 0"),
    ],
)  # fmt: skip
def test_impossible_blobs(tmp_path, blob, message):
    found = refused(tmp_path, net({"name": "l", "blobs": [{"shape": {"dim": [1]}, "data": [0]}, blob]}))
    assert found == f"layer 'l', blob 1: {message}{AGAIN}"


RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}


def raw(values, kind, *before) -> bytes:
    """A blob of three values as NVCaffe stores it: raw_data_type (10) and raw_data (12)."""
    return raw_blob(
        b"".join(before) + block(7, b"\x0a\x01\x03") + key(10, 0) + varint(kind) + block(12, values.tobytes())
    )


@pytest.mark.pitfall("row", 11)
@pytest.mark.parametrize(("kind", "dtype"), RAW_TYPES.items())
def test_row_11_nvcaffes_raw_data(tmp_path, kind, dtype):
    """PITFALLS row 11: NVCaffe's blobs of half precision (and of float and double), with no `data` at all."""
    values = np.array([-1.5, 65504, 6e-8], dtype)
    (layer,) = read(tmp_path, raw(values, kind))
    (blob,) = layer.blobs
    assert blob.dtype == np.float32 and blob.tolist() == values.astype(np.float32).tolist() and blob.all()


@pytest.mark.pitfall("row", 11)
def test_row_11_data_wins_over_raw_data(tmp_path):
    (layer,) = read(tmp_path, raw(np.zeros(3, "<f2"), 2, block(5, np.array([7, 8, 9], "<f4").tobytes())))
    assert layer.blobs[0].tolist() == [7, 8, 9]


@pytest.mark.pitfall("row", 11)
def test_row_11_raw_data_that_cannot_be_read(tmp_path):
    remedy = "not float16, float32 or float64; save it with store_blobs_in_old_format: true"
    integers = raw(np.arange(3, dtype="<i4"), 3)
    assert (
        refused(tmp_path, integers) == f"layer 'l', blob 0: is stored as NVCaffe's raw data of type 3, {remedy}{AGAIN}"
    )
    untyped = raw_blob(block(7, b"\x0a\x01\x03") + block(12, bytes(6)))
    assert (
        refused(tmp_path, untyped)
        == f"layer 'l', blob 0: is stored as NVCaffe's raw data without a type, {remedy}{AGAIN}"
    )
    short = raw(np.arange(2, dtype="<f2"), 2)
    assert refused(tmp_path, short) == f"layer 'l', blob 0: claims 3 values, its shape being (3,), but stores 2{AGAIN}"


def test_bytes_that_are_no_values(tmp_path):
    assert (
        refused(tmp_path, raw_blob(block(5, b"123456")))
        == f"layer 'l', blob 0: stores 6 bytes, which is not a whole number of values{AGAIN}"
    )


def test_claims_cost_nothing(tmp_path):
    """10^12 floats, claimed in every way that the format has, in a hundred bytes."""
    huge = 4 * 10**12
    claims = [
        raw_blob(block(7, block(1, varint(10**12))) + prefix(5, huge)),
        prefix(100, huge) + b"\x0a\x01l",
        prefix(1, huge) + b"net",
        raw_blob(block(7, prefix(1, huge) + b"\1\1\1")),
    ]
    tracemalloc.start()
    for data in claims:
        assert "claims 4000000000000 bytes where" in refused(tmp_path, data)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_other_files_of_caffe(tmp_path):
    other = "is not a caffemodel, but another of Caffe's files (a solverstate or a mean image?); give the .caffemodel"
    state = schema.message_class("SolverState")(iter=100, learned_net="net.caffemodel", current_step=1)
    mean = schema.message_class("BlobProto")(num=1, channels=1, height=1, width=2, data=[1, 2])
    assert refused(tmp_path, state) == other and refused(tmp_path, mean) == other


@pytest.mark.pitfall("row", 3)
def test_mixed_files(tmp_path):
    NetParameter = schema.message_class("NetParameter")
    old, new = (NetParameter(**{field: [{"name": "l"}]}).SerializeToString() for field in ("layers", "layer"))
    said = "mixes `layer` and the legacy `layers`, and Caffe would lose some of them; save it again in one form"
    assert refused(tmp_path, new + old) == refused(tmp_path, old + new) == said


def test_files_without_layers(tmp_path):
    expected = "holds no layers; is it a caffemodel (not a solverstate, a mean image, a prototxt)?"
    assert refused(tmp_path, net(name="net")) == expected


@pytest.mark.parametrize("text", ['name: "net"\nlayer {\n}\n', "just words", "\n\n"])
def test_text(tmp_path, text):
    assert (
        refused(tmp_path, text.encode()) == "is text, not a caffemodel; the prototxt comes first, the caffemodel second"
    )


def test_noise(tmp_path):
    found = refused(tmp_path, b"\xff\xfe\x00noise")
    assert found.startswith("is not a caffemodel, or a damaged one (8 bytes): ") and found.endswith(AGAIN)


def small() -> bytes:
    blobs = [
        {"shape": {"dim": [2, 1, 1, 3]}, "data": range(6)},
        {"num": 1, "channels": 1, "height": 1, "width": 2, "double_data": [1, 2]},
    ]
    layers = [{"name": "conv", "type": "Convolution", "blobs": blobs}, {"name": "relu", "type": "ReLU"}]
    return net(*layers, {"name": "fc", "type": "InnerProduct", "blobs": blobs[:1]}, name="net").SerializeToString()


def test_truncated_anywhere(tmp_path):
    data, whole, names = small(), 0, ["conv", "relu", "fc"]
    for size in range(len(data)):
        try:
            layers = read(tmp_path, data[:size])
        except ReadError as error:
            assert "\n" not in str(error)
            continue
        whole += 1
        assert [layer.name for layer in layers] == names[: len(layers)]
    assert whole == 2  # behind conv, and behind relu
    assert refused(tmp_path, data[:-1]).startswith(
        f"is cut short or damaged after layer 'relu' ({len(data) - 1} bytes): field 100 at byte "
    )


def test_flipped_bytes(tmp_path):
    data, chance = small(), random.Random(3)
    for _ in range(600):
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        try:
            layers = read(tmp_path, bytes(changed))
        except ReadError as error:
            assert "\n" not in str(error)
        else:
            assert sum(blob.nbytes for layer in layers for blob in layer.blobs) <= len(data)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory, data):
    try:
        read(tmp_path_factory.getbasetemp(), b"\x0a\x01n" + data)
    except ReadError as error:
        assert "\n" not in str(error)
