"""What data layers say: of the phase that is asked for, in today's spelling and in the old one."""

from __future__ import annotations

import pytest

from deepmerge.data.transform import Transform, read_transform
from deepmerge.formats.read import read_network

HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
TRAIN = """layer { name: "train" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 8 mean_value: 1 mean_value: 2 mean_value: 3 scale: 0.5 }
  image_data_param { source: "a.txt" batch_size: 2 new_width: 12 new_height: 10 } }
"""
TEST = """layer { name: "test" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 8 mean_file: "m.binaryproto" } data_param { source: "a" batch_size: 2 } }
"""


def read(tmp_path, text, phase):
    (tmp_path / "net.prototxt").write_text(text)
    return read_transform(read_network(tmp_path / "net.prototxt"), phase)


def test_of_the_phase(tmp_path):
    train = Transform((1, 2, 3), None, 0.5, True, 8, (12, 10), "layer 'train'")
    test = Transform((), "m.binaryproto", 1.0, False, 8, None, "layer 'test'")
    for text in (TRAIN + TEST + HEAD, TEST + TRAIN + HEAD):
        assert read(tmp_path, text, "TRAIN") == train and read(tmp_path, text, "TEST") == test
    assert read(tmp_path, TEST + HEAD, "TRAIN") == test  # better than nothing


def test_sizes_without_a_transformation(tmp_path):
    text = TRAIN.replace("include { phase: TRAIN }", "")
    text = text[: text.index("transform_param")] + text[text.index("image_data_param") :]
    assert read(tmp_path, text + HEAD, "TEST") == Transform(resize=(12, 10), where="layer 'train'")


def test_a_deploy_network_says_nothing(tmp_path):
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 6 } } }'
    assert read(tmp_path, text, "TEST") == Transform()


@pytest.mark.parametrize("kind", ["DATA", "IMAGE_DATA"])
def test_the_old_spelling(tmp_path, kind):
    """V1 networks have it in the data layer's own parameter; reading moves it."""
    field = "data_param" if kind == "DATA" else "image_data_param"
    size = "" if kind == "DATA" else "new_height: 10 new_width: 12"
    text = f"""layers {{ name: "d" type: {kind} top: "data" top: "label" {field} {{ source: "a" batch_size: 2 {size} crop_size: 8 mirror: true scale: 0.5 }} }}
layers {{ name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" inner_product_param {{ num_output: 2 }} }}
layers {{ name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }}
"""
    wanted = Transform(scale=0.5, mirror=True, crop=8, resize=None if kind == "DATA" else (12, 10), where="layer 'd'")
    assert read(tmp_path, text, "TEST") == wanted
