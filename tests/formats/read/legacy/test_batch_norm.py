"""Row 2: BatchNorm layers with ParamSpecs, as Caffe upgrades them."""

from __future__ import annotations

import pytest

from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.upgrade import upgrade

pytestmark = pytest.mark.pitfall("row", 2)

FULL = 'param { name: "q" lr_mult: 1 share_mode: PERMISSIVE }'


@pytest.mark.parametrize(
    "specs",
    [
        "",
        f"{FULL} {FULL}",
        f"{FULL} param {{ decay_mult: 3 }} param {{ }}",
        "param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 }",
        "param { } param { lr_mult: 2 } param { } param { } param { }",
    ],
)
def test_as_real_caffe(judge, specs):
    other = 'layer { name: "conv" type: "Convolution" param { lr_mult: 1 } param { lr_mult: 2 } param { lr_mult: 3 } }'
    judge.agree(f'{other} layer {{ name: "bn" type: "BatchNorm" {specs} batch_norm_param {{ eps: 0.001 }} }} {other}')


def test_what_is_not_old_is_left_alone():
    tree = parse('layer { name: "bn" type: "BatchNorm" param { lr_mult: 0 } param { lr_mult: 0 } }')
    assert upgrade(tree, "x") is tree
