"""Fillers: each one's law, by Caffe's filler.hpp, and what is used without a filler."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.fillers import fill
from deepmerge.graph.shapes import infer_shapes
from tests.helpers import inputs, layer, network


def filled(folder, text: str, seed: int = 1):
    graph = network(folder, inputs((1, 20, 9, 7)) + text, seed=None)
    return graph, fill(graph, infer_shapes(graph), seed)


def conv(filler: str, num_output: int = 50, kernel: str = "kernel_h: 5 kernel_w: 3", kind: str = "Convolution") -> str:
    return layer(
        "conv",
        kind,
        "data",
        f"num_output: {num_output} {kernel} weight_filler {{ {filler} }} bias_filler {{ type: 'constant' value: 0.2 }}",
    )


FAN_IN, FAN_OUT = 20 * 5 * 3, 50 * 5 * 3
LAWS = {  # smallest, largest, mean, standard deviation
    "type: 'constant' value: 0.5": (0.5, 0.5, 0.5, 0),
    "type: 'uniform' min: -1 max: 3": (-1, 3, 1, 4 / np.sqrt(12)),
    "type: 'gaussian' mean: 1 std: 0.1": (0.4, 1.6, 1, 0.1),
    "type: 'xavier'": (-np.sqrt(3 / FAN_IN), np.sqrt(3 / FAN_IN), 0, np.sqrt(1 / FAN_IN)),
    "type: 'xavier' variance_norm: FAN_OUT": (-np.sqrt(3 / FAN_OUT), np.sqrt(3 / FAN_OUT), 0, np.sqrt(1 / FAN_OUT)),
    "type: 'xavier' variance_norm: AVERAGE": (-1, 1, 0, np.sqrt(2 / (FAN_IN + FAN_OUT))),
    "type: 'msra'": (-1, 1, 0, np.sqrt(2 / FAN_IN)),
    "type: 'msra' variance_norm: FAN_OUT": (-1, 1, 0, np.sqrt(2 / FAN_OUT)),
}


@pytest.mark.parametrize("filler", LAWS)
def test_laws(tmp_path, filler):
    graph, notes = filled(tmp_path, conv(filler))
    weights, bias = graph.layer("conv").weights
    least, most, mean, deviation = LAWS[filler]
    assert weights.shape == (50, 20, 5, 3) and weights.dtype == np.float32 and (bias == np.float32(0.2)).all()
    assert least - 1e-6 <= weights.min() and weights.max() <= most + 1e-6
    assert weights.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(weights.size) + 1e-7)
    assert weights.std() == pytest.approx(deviation, rel=0.03)
    assert notes == ["no caffemodel has weights for conv; fillers make them"]


def test_positive_unitball(tmp_path):
    weights = filled(tmp_path, conv("type: 'positive_unitball'"))[0].layer("conv").weights[0]
    assert (weights >= 0).all() and np.allclose(weights.reshape(50, -1).sum(axis=1), 1, atol=1e-5)


def test_sparse(tmp_path):
    weights = filled(tmp_path, conv("type: 'gaussian' std: 1 sparse: 5"))[0].layer("conv").weights[0]
    assert (weights != 0).mean() == pytest.approx(5 / 50, abs=0.01)


def test_bilinear(tmp_path):
    """Caffe: filler.hpp's example, an upsampling by 2."""
    weights = filled(tmp_path, conv("type: 'bilinear'", kernel="kernel_size: 4 stride: 2"))[0].layer("conv").weights[0]
    line = np.array([0.25, 0.75, 0.75, 0.25])
    assert np.allclose(weights, np.outer(line, line), atol=1e-7)
    with pytest.raises(ReadError, match=r"layer 'conv' \(Convolution\), weight_filler: bilinear is for square kernels"):
        filled(tmp_path, conv("type: 'bilinear'"))


def test_without_fillers(tmp_path):
    """Caffe: scale_layer.cpp, prelu_layer.cpp, batch_norm_layer.cpp; a constant 0 else."""
    text = layer("conv", "Convolution", "data", "num_output: 2 kernel_size: 1") + layer(
        "bn", "BatchNorm", "data", tops="bn"
    )
    text += layer("scale", "Scale", "data", "bias_term: true", tops="scaled") + layer(
        "prelu", "PReLU", "data", tops="p"
    )
    graph, notes = filled(tmp_path, text)
    found = {m.name: [float(w.ravel()[0]) for w in m.weights] for m in graph.layers if m.weights}
    assert found == {"conv": [0.0, 0.0], "bn": [0.0] * 3, "scale": [1.0, 0.0], "prelu": [0.25]}
    assert notes[1] == "no caffemodel has weights for conv, and there is no weight_filler: all 0, as in Caffe"
    assert "scale, prelu" in notes[0]


def test_a_scale_by_a_bottom_has_a_bias_alone(tmp_path):
    """Caffe: scale_layer.cpp: its factors are no blob, so bias_filler fills the first one."""
    for more, value in (("", 0), ("filler { value: 3 } bias_filler { value: 0.5 }", 0.5)):
        graph, _ = filled(tmp_path, layer("scale", "Scale", "data data", f"axis: 0 bias_term: true {more}"))
        (bias,) = graph.layer("scale").weights
        assert bias.shape == (1, 20, 9, 7) and (bias == value).all()


FILLERS = "'gaussian' sparse: 1", "'positive_unitball'", "'xavier'", "'msra'"


@pytest.mark.parametrize("filler", FILLERS)
def test_one_number_for_all_channels(tmp_path, filler):
    graph, _ = filled(tmp_path, layer("p", "PReLU", "data", f"channel_shared: true filler {{ type: {filler} }}"))
    (slope,) = graph.layer("p").weights
    assert slope.shape == () and slope


def test_the_seed_and_the_name_decide(tmp_path):
    text = conv("type: 'xavier'")
    one, two, other = (filled(tmp_path, text, seed)[0].layer("conv").weights[0] for seed in (1, 1, 2))
    renamed = filled(tmp_path, text.replace('name: "conv"', 'name: "b"'), 1)[0].layer("b").weights[0]
    assert np.array_equal(one, two) and not np.array_equal(one, other) and not np.array_equal(one, renamed)


def test_weights_that_are_there_stay(tmp_path):
    graph = network(tmp_path, inputs((1, 20, 9, 7)) + conv("type: 'xavier'"))
    before = graph.layer("conv").weights[0]
    assert fill(graph, infer_shapes(graph), 1) == [] and graph.layer("conv").weights[0] is before


@pytest.mark.parametrize(
    "filler, told",
    [
        ("type: 'kaiming'", "'kaiming' is not a filler of Caffe's; give one of constant, uniform"),
        ("type: 'xavier' variance_norm: FAN", "variance_norm FAN is not one of FAN_IN"),
    ],
)
def test_refused(tmp_path, filler, told):
    with pytest.raises(ReadError, match=rf"layer 'conv' \(Convolution\), weight_filler: {told}"):
        filled(tmp_path, conv(filler))
