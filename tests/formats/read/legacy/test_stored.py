"""Rows 2, 4 and 10: V0 and V1 caffemodels, as Caffe upgrades and loads them."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.legacy import v0, v1
from deepmerge.formats.read.stored import StoredLayer
from tests.formats.read.down_convert import stored_v0, stored_v1

pytestmark = pytest.mark.pitfall("row", 2)

NET = """
input: "data" input_dim: 1 input_dim: 4 input_dim: 8 input_dim: 9
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
         convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2 group: 2 } }
layers { name: "up" type: DECONVOLUTION bottom: "conv" top: "up" convolution_param { num_output: 3 kernel_size: 2 stride: 2 bias_term: false } }
layers { name: "ip" type: INNER_PRODUCT bottom: "up" top: "ip" inner_product_param { num_output: 7 } }
"""
SHAPES = {"conv": [(6, 2, 3, 5), (6,)], "up": [(6, 3, 2, 2)], "ip": [(7, 3 * 16 * 18), (7,)]}


def stored(types: dict[str, str], seed: int = 3) -> list[StoredLayer]:
    rng = np.random.default_rng(seed)
    shapes = {name: SHAPES.get(name, []) for name in types}
    return [
        StoredLayer(name, types[name], [rng.normal(size=s).astype(np.float32) for s in shapes[name]]) for name in types
    ]


LAYERS = stored(
    {"data": "Data", "conv": "Convolution", "up": "Deconvolution", "loss": "SoftmaxWithLoss", "ip": "InnerProduct"}
)


def read(folder, data: bytes) -> list[StoredLayer]:
    path = folder / "net.caffemodel"
    path.write_bytes(data)
    return read_caffemodel(path)


def described(layers: list[StoredLayer]) -> list[tuple]:
    return [(one.name, one.type, one.phase, [(blob.shape, blob.tobytes()) for blob in one.blobs]) for one in layers]


def test_v1_as_real_caffe_upgrades_it(tmp_path, judge):
    data = stored_v1(LAYERS)
    assert described(read(tmp_path, data)) == described(read(tmp_path, judge.upgrade(data).SerializeToString()))
    assert judge.upgrade(data).layer[0].type == "Data"  # row 4: an input without a shape is dropped


def test_v0_as_real_caffe_upgrades_it(tmp_path, judge):
    data = stored_v0([one for one in LAYERS if one.name != "up"])
    assert described(read(tmp_path, data)) == described(read(tmp_path, judge.upgrade(data).SerializeToString()))


def test_types_are_todays(tmp_path):
    NetParameter = schema.message_class("NetParameter")
    enum = schema.enum_values("V1LayerParameter.LayerType")
    data = NetParameter(layers=[{"type": number} for number in enum.values()]).SerializeToString()
    assert [layer.type for layer in read(tmp_path, data)] == [v1.type_name(name) for name in enum]
    data = NetParameter(layers=[{"layer": {"type": name}} for name in [*v0.TYPES, "cnorm"]]).SerializeToString()
    assert [layer.type for layer in read(tmp_path, data)] == [v1.TYPES[name] for name in v0.TYPES.values()] + ["cnorm"]


@pytest.mark.pitfall("row", 10)
def test_blobs_of_four_axes_get_todays_shapes(tmp_path, worker):
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(NET)
    caffemodel.write_bytes(stored_v1(LAYERS))
    graph = read_network(prototxt, caffemodel)
    with worker.load(prototxt, caffemodel) as session:
        params = session.params()
    for name, shapes in SHAPES.items():
        assert [blob.shape for blob in graph.layer(name).weights] == shapes
        for ours, theirs in zip(graph.layer(name).weights, params[name], strict=True):
            assert np.array_equal(ours, theirs)
    assert graph.warnings == []


@pytest.mark.pitfall("row", 10)
@pytest.mark.parametrize("form", ["layer", "layers"])
def test_which_sizes_and_values_count(tmp_path, worker, form):
    """Row 10: num … width go before `shape`, double_data before data."""
    kind = {"layer": "Convolution", "layers": 4}[form]
    four = {"num": 6, "channels": 2, "height": 3, "width": 5, "shape": {"dim": [5, 3, 2, 6]}, "data": np.arange(180)}
    double = {"shape": {"dim": [6]}, "data": np.zeros(6), "double_data": np.arange(6) + 1e-9}
    net = schema.message_class("NetParameter")(**{form: [{"name": "conv", "type": kind, "blobs": [four, double]}]})
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(NET[: NET.index('layers { name: "up"')])
    caffemodel.write_bytes(net.SerializeToString())
    with worker.load(prototxt, caffemodel) as session:
        params = session.params()["conv"]
    found = read_network(prototxt, caffemodel).layer("conv").weights
    assert [blob.shape for blob in found] == SHAPES["conv"]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, params, strict=True))
    assert np.array_equal(found[1], (np.arange(6) + 1e-9).astype(np.float32)) and found[0][5, 1, 2, 4] == 179


def test_damage_is_named_by_layer(tmp_path):
    with pytest.raises(ReadError, match=r"is cut short or damaged after layer 'loss' \(\d+ bytes\)"):
        read(tmp_path, stored_v1(LAYERS)[:-9])
    wrong = schema.message_class("NetParameter")(
        layers=[{"layer": {"name": "c", "blobs": [{"num": 3, "data": [1.0]}]}}]
    )
    with pytest.raises(ReadError, match="layer 'c', blob 0: claims 0 values, its shape being"):
        read(tmp_path, wrong.SerializeToString())
