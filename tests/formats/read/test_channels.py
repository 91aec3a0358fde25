"""The number of channels that weights expect in a data blob."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.formats.read.channels import channels_of
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.stored import StoredLayer


def layer(name: str, kind: str, bottom: str = "data", more: str = "") -> str:
    return f"layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{name}' {more} }}\n"


def stored(name: str, *shape: int) -> StoredLayer:
    return StoredLayer(name, "", [np.zeros(shape, np.float32)])


CONV = layer("conv", "Convolution", more="convolution_param { num_output: 4 kernel_size: 3 group: 2 }")


@pytest.mark.parametrize(
    ("text", "weights", "channels"),
    [
        (CONV, [stored("conv", 4, 3, 3, 3)], 6),
        (CONV, [stored("other", 4, 3, 3, 3)], None),
        (CONV, [StoredLayer("conv")], None),
        (layer("up", "Deconvolution"), [stored("up", 5, 2, 3, 3)], 5),
        (layer("bn", "BatchNorm"), [stored("bn", 7)], 7),
        (layer("bn", "Scale"), [stored("bn", 1, 1, 1, 7)], 7),
        (
            layer("pow", "Power") + layer("lrn", "LRN", "pow") + CONV.replace("'data'", "'lrn'"),
            [stored("conv", 4, 1, 3, 3)],
            2,
        ),
        (layer("fc", "InnerProduct"), [stored("fc", 10, 2 * 5 * 4)], 2),
        (layer("fc", "InnerProduct"), [stored("fc", 10, 41)], None),
        (layer("pool", "Pooling") + layer("fc", "InnerProduct", "pool"), [stored("fc", 10, 40)], None),
        (layer("flat", "Flatten") + CONV.replace("'data'", "'flat'"), [stored("conv", 4, 3, 3, 3)], None),
    ],
)
def test_channels(text, weights, channels):
    assert channels_of("data", (5, 4), parse(text).values("layer"), weights, "x") == channels
