"""Row 2: V0 layers, as Caffe upgrades them."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.legacy import v0
from tests.formats.read.legacy.judges import ours
from tests.formats.read.legacy.random_nets import v0_net

pytestmark = pytest.mark.pitfall("row", 2)

SHELL = 'layers { layer { name: "x" type: "%s" %s } bottom: "a" top: "x" }'
INPUT = 'name: "old" input: "a" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9 '
FILLERS = 'weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0.1 }'
LEARNING = "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0"
IMAGES = 'scale: 0.00390625 meanfile: "mean.binaryproto" cropsize: 227 mirror: true'
LAYERS = {
    "conv": ("conv", f"num_output: 96 kernelsize: 11 stride: 4 pad: 2 group: 3 biasterm: false {FILLERS} {LEARNING}"),
    "innerproduct": ("innerproduct", f"num_output: 10 biasterm: true {FILLERS} {LEARNING}"),
    "pool": ("pool", "pool: STOCHASTIC kernelsize: 3 stride: 2 pad: 1"),
    "pool by number": ("pool", "pool: 1"),
    "lrn": ("lrn", "local_size: 3 alpha: 0.0001 beta: 0.5 k: 2"),
    "dropout": ("dropout", "dropout_ratio: 0.7"),
    "concat": ("concat", "concat_dim: 0"),
    "data": ("data", f'source: "train" batchsize: 256 rand_skip: 17 {IMAGES}'),
    "images": ("images", f'source: "list" batchsize: 5 rand_skip: 3 shuffle_images: true new_height: 256 new_width: 320 {IMAGES}'),
    "window_data": ("window_data", f'source: "w" batchsize: 8 det_fg_threshold: 0.6 det_bg_threshold: 0.4 det_fg_fraction: 0.2 det_context_pad: 16 det_crop_mode: "square" {IMAGES}'),
    "hdf5_data": ("hdf5_data", 'source: "h" batchsize: 2'),
    "hdf5_output": ("hdf5_output", 'hdf5_output_param { file_name: "f" }'),
    "infogain_loss": ("infogain_loss", 'source: "matrix"'),
    "blobs": ("conv", "blobs { num: 1 channels: 1 height: 1 width: 2 data: 1 data: 2 }"),
    "transforms of any type": ("relu", IMAGES),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "fields"), LAYERS.values(), ids=LAYERS)
def test_as_real_caffe(judge, kind, fields):
    judge.agree(INPUT + SHELL % (kind, fields), warnings := [])
    assert warnings == []


@pytest.mark.parametrize("kind", v0.TYPES)
def test_each_field_of_each_type_as_real_caffe(judge, kind):
    """Fields that the type does not have are left out, each with a warning."""
    fields = {
        "name": "", "type": "", "weight_filler": 'weight_filler { type: "xavier" }', "bias_filler": "bias_filler { }",
        "pool": "pool: AVE", "hdf5_output_param": "hdf5_output_param { }", "blobs": "blobs { data: 1 }",
    }  # fmt: skip
    quoted = ("source", "meanfile", "det_crop_mode")
    texts = [
        fields.get(name, f'{name}: "s"' if name in quoted else f"{name}: 1")
        for name in schema.fields("V0LayerParameter")
    ]
    judge.agree(INPUT + SHELL % (kind, " ".join(texts)), warnings := [])
    assert all(line.startswith(f"layer 'x' ({kind}): ") and "is left out, as by Caffe" in line for line in warnings)
    own = v0.PARAMS.get(kind, ("", ""))[1].split() + ["hdf5_output_param"] * (kind == "hdf5_output")
    kept = {"name", "type", "blobs", "blobs_lr", "weight_decay", *v0.TRANSFORM, *own}
    assert len(warnings) == len(schema.fields("V0LayerParameter").keys() - kept)


def test_any_field_with_any_value_as_real_caffe(judge):
    for seed in range(30):
        judge.agree(v0_net(seed))


def test_what_stands_outside_the_layer_is_lost(judge):
    text = (
        INPUT
        + 'state { stage: "s" } input_shape { dim: 2 } layers { name: "y" layer { name: "x" type: "relu" } include { phase: TRAIN } }'
    )
    judge.agree(text, warnings := [])
    assert warnings == [
        "left out, as a V0 network has no such fields: state, input_shape",
        "layer 'x' (relu): 'name' is left out, as by Caffe: V0 layers of this type have no such field",
        "layer 'x' (relu): 'include' is left out, as by Caffe: V0 layers of this type have no such field",
    ]


def test_an_unknown_type_is_kept(judge, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + SHELL % ("cnorm", "fancy: 3"))
    assert judge.upgrade(path.read_text()) is None
    graph = read_network(path)
    assert graph.layer("x").type == "cnorm" and graph.layer("x").tree.value("fancy") == "3"
    assert graph.warnings == ["layer 'x' has the unknown type 'cnorm', and is passed through as it is"]


def test_v1_layers_among_v0_ones(judge):
    """Caffe takes their name and type from them, and fails later."""
    text = INPUT + SHELL % ("relu", "") + '\nlayers { name: "new" type: RELU bottom: "x" top: "x" }'
    assert [layer.name for layer in judge.upgrade(text).layer] == ["input", "x", ""]
    with pytest.raises(ReadError) as caught:
        ours(text)
    place = "net.prototxt:2:1: layer 'new' (RELU) is a V1 layer among V0 ones (`layers { layer { … } }`)"
    assert str(caught.value) == f"{place}, and Caffe would lose it; write all in one form"
