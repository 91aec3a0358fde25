"""What the schema knows must fit it; what it does not know is left alone, unless it looks misspelt."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.validate import name_of, validate

# Messages of layers in public forks: SSD, NVCaffe, FlowNet, SENet, R-FCN, PSPNet, DeepLab, Intel's …
FORKS = """
    permute_param norm_param normalize_param prior_box_param detection_output_param multibox_loss_param
    annotated_data_param video_data_param interp_param bn_param roi_pooling_param psroi_pooling_param
    box_annotator_ohem_param smooth_l1_loss_param focal_loss_param upsample_param shuffle_channel_param axpy_param
    reorg_param region_loss_param resize_param flow_warp_param correlation_param data_augmentation_param l1_loss_param
    detectnet_groundtruth_param dense_image_data_param seg_accuracy_param adaptive_bias_channel_param power_file_param
    channel_wise_norm_param relu6_param conv_bn_param warp_ctc_param lstm_param mvn_norm_param depthwise_conv_param
    forward_type backward_type forward_math connectivity_mode quantization_param proposal_param roi_align_param
""".split()


def check(layer: str) -> list[str]:
    return validate(parse("layer {\n" + layer + "\n}"), "net.prototxt")


def refused(text: str) -> str:
    with pytest.raises(ReadError) as caught:
        validate(parse(text), "net.prototxt")
    return str(caught.value)


@pytest.mark.parametrize(
    "path", ["googlenet/train_val.prototxt", "resnet152/deploy.prototxt", "alexnet/deploy.prototxt"]
)
def test_models_pass(models, path):
    assert validate(parse((models / path).read_text()), path) == []


@pytest.mark.pitfall("row", 5)
@pytest.mark.parametrize("name", FORKS)
def test_fields_of_forks_are_no_misspellings(name):
    assert check(f'name: "x" type: "X" {name} {{ num_output: 3 }}') == []


@pytest.mark.pitfall("row", 5)
@pytest.mark.pitfall("row", 6)
def test_values_inside_fields_of_forks_are_their_own():
    assert check('some_fork { lrn_param { alpha: "text" } name: 3 name: 4 }') == []
    assert check("pooling_param { pool: L2 }") == []


@pytest.mark.parametrize(
    ("text", "where", "field", "typo"),
    [
        ("pooling_param { strid: 2 }", ", pooling_param", "strid", "stride"),
        ("convolution_param { kernal_size: 3 }", ", convolution_param", "kernal_size", "kernel_size"),
        (
            "convolution_param {\nweight_filler { sdt: 1 std: 1 stdd: 2 } }",
            ", convolution_param, weight_filler",
            "stdd",
            "std",
        ),
        ("convolution_parm { }", "", "convolution_parm", "convolution_param"),
        ("includes { }", "", "includes", "include"),
    ],
)
def test_misspellings_are_warned_of(text, where, field, typo):
    notes = check(f'name: "x" type: "X"\n{text}')
    line = 4 if "\n" in text else 3
    expected = f"layer 'x' (X){where}, line {line}: unknown field {field!r} is kept as it is; did you mean {typo!r}?"
    assert notes[-1] == expected and len(notes) <= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layr { }", "1:1: unknown field 'layr'; did you mean 'layer'?"),
        ("Layer { }", "1:1: unknown field 'Layer'; did you mean 'layer'?"),
        ("inputs: 'data'", "1:1: unknown field 'inputs'; did you mean 'input'?"),
        ("layer { name: 'x' typ: 'X' }", "1:19: layer 'x' (): unknown field 'typ'; did you mean 'type'?"),
        (
            "layer { name: 'x' type: 'X' botom: 'y' }",
            "1:29: layer 'x' (X): unknown field 'botom'; did you mean 'bottom'?",
        ),
        ("layer { name: 'x' type: 'X' tops: 'y' }", "1:29: layer 'x' (X): unknown field 'tops'; did you mean 'top'?"),
    ],
)
def test_misspellings_that_would_lose_something_are_errors(text, message):
    assert refused(text) == f"net.prototxt:{message}"


def test_values_of_the_wrong_kind():
    text = "layer {\n  name: 'c' type: 'C'\n  convolution_param { weight_filler { std: small } }\n}"
    where = "layer 'c' (C), convolution_param, weight_filler"
    assert refused(text) == f"net.prototxt:3:39: {where}: 'std' needs a number, found 'small'"
    assert refused("name: net") == "net.prototxt:1:1: 'name' needs a quoted string (name: \"net\"), found 'net'"
    assert refused("layer: 3") == "net.prototxt:1:1: 'layer' needs a message in braces, found '3'"
    assert (
        refused("layer { include: TEST }")
        == "net.prototxt:1:9: layer '' (): 'include' needs a message in braces, found 'TEST'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 'a'\nname: 'b'", "2:1: 'name' is given twice (first in line 1); keep one of them"),
        ("layer { name: 'r'\nrelu_param { }\nrelu_param { } }", "3:1: layer 'r' (): 'relu_param' is given twice (first in line 2); keep one of them"),
        ("layer { lrn_param { k: 1 k: 1 } }", "1:26: layer '' (), lrn_param: 'k' is given twice (first in line 1); keep one of them"),
    ],
)  # fmt: skip
def test_fields_that_may_stand_once(text, message):
    assert refused(text) == f"net.prototxt:{message}"


def test_fields_that_may_stand_often():
    assert check("top: 'a' top: 'b' param { } param { } convolution_param { kernel_size: 1 kernel_size: 2 }") == []


def test_older_formats_have_their_own_schema():
    old = 'layers { name: "c" type: CONVOLUTION blobs_lr: 1 blobs_lr: 2 weight_decay: 1 convolution_param { num_output: 2 } }'
    assert validate(parse(old), "net.prototxt") == []
    assert "layers" in old and validate(parse('layers { layer { name: "c" type: "conv" num_output: 3 } }'), "x") == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: 'a' type: 'B'", "layer 'a' (B)"),
        ("", "layer '' ()"),
        ("name: 'a\\n' type: 'B\\n'", "layer 'a\\n' (B\\n)"),
    ],
)
def test_name_of(text, name):
    assert name_of(parse(text)) == name
