"""InnerProduct, Embed, Scale and Bias in PyTorch, against real Caffe, forward and backward."""

from __future__ import annotations

import numpy as np

from tests.engines.pytorch.cases import images, inputs, judge, layer

SHAPE = (2, 6, 5, 4)


def test_inner_product(worker, tmp_path):
    text = inputs(SHAPE)
    cases = [
        "",
        "bias_term: false",
        "transpose: true",
        "axis: 2",
        "axis: -1 transpose: true bias_term: false",
        "axis: 0",
    ]
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "InnerProduct", f"inner_product_param {{ num_output: 7 {params} }}")
    text += layer("again", "InnerProduct", "inner_product_param { num_output: 3 }", "top0")
    judge(worker, tmp_path, text, images(SHAPE))


def test_embed(worker, tmp_path):
    text = inputs((3, 4)) + layer("rows", "Embed", "embed_param { num_output: 5 input_dim: 9 } loss_weight: 0.5")
    text += layer("bare", "Embed", "embed_param { num_output: 2 input_dim: 9 bias_term: false } loss_weight: -2")
    fed = {"data": np.random.default_rng(0).integers(0, 9, (3, 4)).astype(np.float32)}
    judge(worker, tmp_path, text, fed, {"data": np.tile(fed["data"], (2, 1))}, unlearned=["data"], force=False)


def test_learned_scale_and_bias(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(
        ["", "axis: 2", "axis: 1 num_axes: 2", "axis: 1 num_axes: -1", "axis: -1", "num_axes: 0"]
    ):
        text += layer(f"scale{number}", "Scale", f"scale_param {{ {params} }}")
        text += layer(f"both{number}", "Scale", f"scale_param {{ {params} bias_term: true }}")
        text += layer(f"bias{number}", "Bias", f"bias_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE), images((3, *SHAPE[1:])))


def test_scale_and_bias_by_a_second_bottom(worker, tmp_path):
    shapes = SHAPE, (2, 6), (2, 6, 5, 4), (5, 4), (2,)
    text = inputs(*shapes)
    for kind in ("Scale", "Bias"):
        field = kind.lower()
        for number, (bottom, params) in enumerate(
            [("data1", "axis: 0"), ("data2", "axis: 0"), ("data3", "axis: 2"), ("data4", "axis: 0")]
        ):
            text += layer(f"{field}{number}", kind, f"{field}_param {{ {params} }}", f"data {bottom}")
    text += layer("both", "Scale", "scale_param { axis: 0 bias_term: true }", "data data1")
    judge(worker, tmp_path, text, images(*shapes))
