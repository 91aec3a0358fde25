"""A BatchNorm that stays becomes a Scale, in real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.passes.convert_batchnorm import ConvertBatchnorm
from deepmerge.passes.registry import FOLDS, PASSES
from tests.helpers import inputs, layer, network, relu


def lone(shape: tuple[int, ...], params: str = "") -> str:
    return inputs(shape) + relu("data", "relu") + layer("bn", "BatchNorm", "data", params) + layer("t", "TanH", "bn")


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (3, 7), (2, 3, 4)])
def test_a_batchnorm_after_an_activation(apply_and_check, shape):
    found = apply_and_check(lone(shape, "eps: 1e-3"), ConvertBatchnorm, left={"ReLU": 1, "Scale": 1, "TanH": 1})
    assert found.layer("bn").tree.message("batch_norm_param") is None
    assert [array.shape for array in found.layer("bn").weights] == [(shape[1],)] * 2


def test_it_still_runs_in_place_and_keeps_no_frozen_rates(apply_and_check):
    text = lone((2, 6, 5, 4)).replace(
        'name: "bn"', 'name: "bn" param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }'
    )
    found = apply_and_check(text, ConvertBatchnorm, left={"ReLU": 1, "Scale": 1, "TanH": 1})
    assert found.layer("bn").param_specs == []


def test_folds_come_first(apply_and_check):
    """What a convolution or a Scale can take up is not left as a Scale of its own."""
    folds = [PASSES[name] for name in FOLDS]
    text = (
        inputs((2, 6, 5, 4))
        + layer("c", "Convolution", "data", "num_output: 3 kernel_size: 1")
        + layer("bn", "BatchNorm", "c")
    )
    text += (
        relu("bn", "r")
        + layer("bn2", "BatchNorm", "bn")
        + layer("s", "Scale", "bn2", "bias_term: true")
        + relu("s", "r2")
    )
    text += layer("bn3", "BatchNorm", "s") + layer("t", "TanH", "bn3")
    found = apply_and_check(text, *folds, left={"Convolution": 1, "ReLU": 2, "Scale": 2, "TanH": 1})
    assert {layer.name for layer in found.graph.layers if layer.type == "Scale"} == {"s", "bn3"}


def test_what_stays_a_batchnorm(refusals, tmp_path):
    assert (
        "use_global_stats is false" in refusals(lone((2, 6, 5, 4), "use_global_stats: false"), ConvertBatchnorm)["bn"]
    )
    unknown = lone((2, 6, 5, 4)).replace('type: "ReLU"', 'type: "Elsewhere"')
    assert "channels is not known" in refusals(unknown, ConvertBatchnorm)["bn"]
    kept = refusals(lone((2, 6, 5, 4)), ConvertBatchnorm, keep=frozenset(["BatchNorm"]))
    assert kept == {"bn": "'bn' (BatchNorm) is kept, as asked"}
    graph = network(tmp_path, lone((2, 6, 5, 4), "eps: 0"))
    graph.layer("bn").weights[1] = np.zeros(6, np.float32)
    assert "its channel 0 has no finite factor" in refusals(graph, ConvertBatchnorm)["bn"]


def test_shared_statistics_stay(refusals):
    spec = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    text = inputs((2, 6, 5, 4)) + relu("data", "r")
    text += layer("bn", "BatchNorm", "data", param=spec) + layer("bn2", "BatchNorm", "data", param=spec)
    assert refusals(text, ConvertBatchnorm)["bn"] == "its weights are shared with 'bn2'"
