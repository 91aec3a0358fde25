"""Row 2: V1 layers, as Caffe upgrades them."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.legacy.v1 import type_name
from tests.formats.read.legacy.judges import ours
from tests.formats.read.legacy.random_nets import v1_net

pytestmark = pytest.mark.pitfall("row", 2)

ENUM = schema.enum_values("V1LayerParameter.LayerType")
KINDS = [kind for kind in ENUM if kind != "REVERSE"]
LAYERS = {
    "every type": " ".join(f'layers {{ name: "{kind}" type: {kind} }}' for kind in KINDS),
    "every type by number": " ".join(f"layers {{ type: {ENUM[kind]} }}" for kind in KINDS),
    "no type": 'layers { name: "n" bottom: "a" top: "b" }',
    "rates": 'layers { type: CONVOLUTION blobs_lr: 1 weight_decay: 1 blobs_lr: 2 weight_decay: 0 convolution_param { kernel_h: 3 kernel_w: 5 } }',
    "fewer decays": "layers { type: CONVOLUTION blobs_lr: 1 blobs_lr: 2 weight_decay: 0.5 }",
    "more decays": "layers { type: CONVOLUTION blobs_lr: 1 weight_decay: 0.5 weight_decay: 0 }",
    "shared": 'layers { param: "w" param: "" blob_share_mode: PERMISSIVE blobs_lr: 1 blobs_lr: 2 blob_share_mode: STRICT blob_share_mode: 1 }',
    "names only": 'layers { type: INNER_PRODUCT param: ["w", "b"] inner_product_param { num_output: 3 } }',
    "losses": 'layers { type: SOFTMAX_LOSS loss_weight: 0.3 loss_weight: 0 bottom: "a" bottom: "b" top: "l" loss_param { ignore_label: 2 } }',
    "phases": 'layers { include { phase: TRAIN stage: "s" } include: { min_level: 2 } } layers { exclude { phase: TEST not_stage: "t" } }',
    "of the net": 'name: "n" force_backward: true debug_info: true state { stage: "s" } input: "a" input_shape { dim: 2 } layers { }',
    "blobs": "layers { blobs { num: 1 channels: 2 height: 1 width: 1 data: 1 data: 2 } blobs { shape { dim: 1 } double_data: 3 } }",
}  # fmt: skip


@pytest.mark.parametrize("text", LAYERS.values(), ids=LAYERS)
def test_as_real_caffe(judge, text):
    judge.agree(text, warnings := [])
    assert warnings == []


def test_any_field_with_any_value_as_real_caffe(judge):
    for seed in range(30):
        judge.agree(v1_net(seed))


def test_each_message_of_v1_is_called_the_same_today():
    then, now = schema.fields("V1LayerParameter"), schema.fields("LayerParameter")
    changed = {name for name, field in then.items() if name not in now or now[name].type_name != field.type_name}
    assert changed == {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"}


@pytest.mark.pitfall("row", 6)
@pytest.mark.parametrize(
    ("enum", "name"),
    [
        ("PRELU", "PReLU"), ("BATCH_NORM", "BatchNorm"), ("CROP", "Crop"), ("REVERSE", "Reverse"), ("ROI_POOLING", "ROIPooling"),
        ("SMOOTH_L1_LOSS", "SmoothL1Loss"), ("BN", "BN"), ("UPSAMPLE", "Upsample"), ("INTERP", "Interp"), ("99", "99"),
    ],
)  # fmt: skip
def test_types_of_forks(enum, name):
    net = ours(f'layers {{ name: "x" type: {enum} }}', warnings := [])
    assert net.layer[0].type == type_name(enum) == name
    assert warnings == [f"layer 'x': {enum} is not a V1 type of Caffe's; it is read as {name!r}"]


@pytest.mark.pitfall("row", 5)
def test_what_forks_add_to_a_layer_is_kept(tmp_path):
    """Row 5, in V1."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "a" input_dim: [1, 8, 4, 4] layers { name: "n" type: FANCY_NORM bottom: "a" top: "n" blobs_lr: 0\n'
        "  fancy_param { across_spatial: false scale_filler { type: 'constant' value: 20 } } extra: [1, 2] }"
    )
    graph = read_network(path)
    layer = graph.layer("n")
    assert (layer.type, [f.name for f in layer.tree]) == ("FancyNorm", ["fancy_param", "extra", "extra"])
    assert [f.name for f in layer.tree.message("fancy_param")] == ["across_spatial", "scale_filler"]
    assert graph.warnings == [
        "layer 'n': FANCY_NORM is not a V1 type of Caffe's; it is read as 'FancyNorm'",
        "layer 'n' has the unknown type 'FancyNorm', and is passed through as it is",
    ]


def test_errors_still_know_the_line(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "a"\ninput_dim: [1, 8, 4, 4]\nlayers { name: "c" type: CONVOLUTION\n  bottom: "b" convolution_param { num_output: 1 kernel_size: 1 } }'
    )
    with pytest.raises(
        Exception, match=r"net.prototxt:3:1: layer 'c' \(Convolution\) reads 'b', which no layer before it makes"
    ):
        read_network(path)


REFUSED = [
    ('layers {\n type: "Convolution" }', "2:2: layer '' (Convolution): `layers` have types such as CONVOLUTION, without quotes; with 'Convolution', call it `layer`"),
    ('layers { name: "a" blobs_lr: true }', "1:20: layer 'a' (): 'blobs_lr' needs a number, found 'true'"),
    ('layers { name: "a" botom: "b" }', "1:20: layer 'a' (): unknown field 'botom'; did you mean 'bottom'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refusals(judge, text, message):
    assert judge.upgrade(text) is None
    with pytest.raises(ReadError) as caught:
        ours(text)
    assert str(caught.value) == f"net.prototxt:{message}"


@pytest.mark.pitfall("row", 3)
def test_layer_and_layers_in_one_file(judge):
    """Row 3: Caffe refuses as well, since the version that stopped to forget the `layer`."""
    text = 'layers { name: "old" }\nlayer { name: "new" }'
    assert judge.upgrade(text) is None
    with pytest.raises(ReadError) as caught:
        ours(text)
    place = "net.prototxt:1:1: mixes `layer` (line 2) and `layers` (line 1)"
    assert str(caught.value) == f"{place}, and Caffe would lose some of them; write all as `layer`"
