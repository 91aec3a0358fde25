"""InnerProduct, Embed, Scale and Bias as ONNX, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx.cases import images, inputs, judge, layer

SHAPE = (2, 6, 5, 4)


def test_inner_product(worker, tmp_path):
    text = inputs(SHAPE)
    cases = ["", "bias_term: false", "transpose: true", "axis: 2", "axis: -1 transpose: true bias_term: false"]
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "InnerProduct", f"inner_product_param {{ num_output: 7 {params} }}")
    text += layer("again", "InnerProduct", "inner_product_param { num_output: 3 }", "top0")
    judge(worker, tmp_path, text, images(SHAPE), images((5, *SHAPE[1:])))


def test_inner_product_of_everything(worker, tmp_path):
    text = inputs((3, 4)) + layer("all", "InnerProduct", "inner_product_param { num_output: 5 axis: 0 }")
    judge(worker, tmp_path, text, images((3, 4)))


def test_embed(worker, tmp_path):
    text = inputs((3, 4))
    text += layer("rows", "Embed", "embed_param { num_output: 5 input_dim: 9 }")
    text += layer("bare", "Embed", "embed_param { num_output: 2 input_dim: 9 bias_term: false }")
    fed = {"data": np.random.default_rng(0).integers(0, 9, (3, 4)).astype(np.float32)}
    judge(worker, tmp_path, text, fed, {"data": np.tile(fed["data"], (2, 1))})


def test_learned_scale_and_bias(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(
        ["", "axis: 2", "axis: 1 num_axes: 2", "axis: 1 num_axes: -1", "axis: -1", "num_axes: 0"]
    ):
        text += layer(f"scale{number}", "Scale", f"scale_param {{ {params} }}")
        text += layer(f"both{number}", "Scale", f"scale_param {{ {params} bias_term: true }}")
        text += layer(f"bias{number}", "Bias", f"bias_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE), images((3, *SHAPE[1:])))


def test_scale_over_the_batch(worker, tmp_path):
    text = inputs(SHAPE)
    text += layer("scale", "Scale", "scale_param { axis: 0 num_axes: 2 bias_term: true }")
    text += layer("bias", "Bias", "bias_param { axis: 0 num_axes: -1 }")
    judge(worker, tmp_path, text, images(SHAPE))


@pytest.mark.pitfall("row", 28)
def test_scale_and_bias_by_a_second_bottom(worker, tmp_path):
    shapes = SHAPE, (2, 6), (2, 6, 5, 4)
    text = inputs(*shapes)
    text += layer("gate", "Scale", "scale_param { axis: 0 }", "data data1")
    text += layer("whole", "Scale", "scale_param { axis: 0 }", "data data2")
    text += layer("plus", "Bias", "bias_param { axis: 0 }", "data data1")
    judge(worker, tmp_path, text, images(*shapes), images(*[(3, *shape[1:]) for shape in shapes]))


def test_scale_by_a_bottom_with_a_learned_bias(worker, tmp_path):
    text = inputs(SHAPE, (6, 5))
    text += layer("scale", "Scale", "scale_param { axis: 1 bias_term: true }", "data data1")
    text += layer("bias", "Bias", "bias_param { axis: 1 }", "data data1")
    judge(worker, tmp_path, text, images(SHAPE, (6, 5)))


def test_scale_by_a_parameter(worker, tmp_path):
    text = inputs(SHAPE) + layer("gamma", "Parameter", "parameter_param { shape { dim: 6 } }", "")
    text += layer("scale", "Scale", "", "data gamma")
    judge(worker, tmp_path, text, images(SHAPE), images((3, *SHAPE[1:])))
