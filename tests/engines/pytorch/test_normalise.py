"""LRN, BatchNorm, MVN and Softmax in PyTorch, against real Caffe, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engines.pytorch.cases import images, inputs, judge, layer

SHAPE = (2, 7, 5, 4)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_lrn(worker, tmp_path, region):
    text = inputs(SHAPE)
    cases = [
        "",
        "local_size: 3 alpha: 0.5 beta: 0.6",
        "local_size: 9 alpha: 1e-4",
        "local_size: 1 alpha: 2 beta: 2",
        "alpha: 0.3 k: 2.5",
    ]
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "LRN", f"lrn_param {{ {params} norm_region: {region} }}")
    judge(worker, tmp_path, text, images(SHAPE, low=-3, high=4), images((1, *SHAPE[1:])))


def test_lrn_of_one_channel(worker, tmp_path):
    judge(worker, tmp_path, inputs((2, 1, 3, 2)) + layer("lrn", "LRN"), images((2, 1, 3, 2)))


@pytest.mark.parametrize("channels", [7, 192])
@pytest.mark.parametrize(("kind", "within"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_lrns_window_is_summed_alike_in_both_ways(monkeypatch, channels, kind, within):
    """A convolution on a CPU, shifted channels elsewhere."""
    torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")
    from deepmerge.engines.pytorch import normalise

    x = torch.from_numpy(images((2, channels, 5, 4))["data"]).abs()
    for size in (1, 3, 5, 9):
        made = normalise._window_sum(x.to(getattr(torch, kind)), size)
        monkeypatch.setattr(normalise, "_MOST_BAND", 0)
        wanted = normalise._window_sum(x, size)
        monkeypatch.undo()
        torch.testing.assert_close(made.float(), wanted, rtol=within, atol=0)


def test_batch_norm_by_what_is_stored(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(["", "eps: 0.1", "use_global_stats: true"]):
        text += layer(f"top{number}", "BatchNorm", f"batch_norm_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE))


@pytest.mark.parametrize("across", ["true", "false"])
def test_mvn(worker, tmp_path, across):
    text = inputs(SHAPE)
    for number, params in enumerate(["", "normalize_variance: false", "eps: 1e-4"]):
        text += layer(f"top{number}", "MVN", f"mvn_param {{ {params} across_channels: {across} }}")
    flat = images(SHAPE)
    flat["data"][1] = 2  # no variance
    judge(worker, tmp_path, text, images(SHAPE))
    judge(worker, tmp_path, text, flat, backward=False)


def test_softmax(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(["", "axis: 2", "axis: -1"]):
        text += layer(f"top{number}", "Softmax", f"softmax_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE), {"data": images(SHAPE)["data"] * np.float32(40)})
