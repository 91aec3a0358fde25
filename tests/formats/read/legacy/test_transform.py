"""Row 2: transformations among a data layer's own fields, as Caffe moves them."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_network
from deepmerge.formats.read.legacy.transform import move_transforms
from deepmerge.formats.read.prototxt import parse

pytestmark = pytest.mark.pitfall("row", 2)

OLD = 'scale: 0.5 mean_file: "m" crop_size: 227 mirror: true'
NETS = {
    "data": f'layers {{ type: DATA data_param {{ source: "s" {OLD} batch_size: 3 }} }}',
    "image data": f'layers {{ type: IMAGE_DATA image_data_param {{ {OLD} new_height: 4 }} }}',
    "window data": f"layers {{ type: WINDOW_DATA window_data_param {{ {OLD} fg_threshold: 0.1 }} }}",
    "type by number": "layers { type: 5 data_param { mirror: true } }",
    "old wins over new": "layers { type: DATA transform_param { scale: 3 mean_value: 104 crop_size: 9 } data_param { scale: 2 } }",
    "another type's": "layers { type: DATA image_data_param { scale: 2 } }",
    "every data layer gets both messages": "layers { type: DATA } layers { type: IMAGE_DATA } layers { type: WINDOW_DATA window_data_param { crop_size: 1 } } layers { type: HDF5_DATA }",
    "nothing old": "layers { type: DATA data_param { batch_size: 1 } } layers { type: IMAGE_DATA }",
    "today's layers": f'layer {{ type: "Data" data_param {{ {OLD} }} }}',
}  # fmt: skip


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_as_real_caffe(judge, text):
    judge.agree(text, warnings := [])
    assert warnings == []


@pytest.mark.pitfall("row", 31)
def test_the_crop_size_is_the_size_of_the_images(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layers { name: "d" type: DATA top: "data" top: "label" data_param { source: "s" crop_size: 8 mean_file: "m" } }\n'
        'layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 3 } }\n'
        'layers { name: "l" type: SOFTMAX_LOSS bottom: "c" bottom: "label" top: "l" }'
    )
    graph = read_network(path)
    assert [layer.type for layer in graph.layers] == ["Input", "Convolution", "Softmax"]
    assert graph.layers[0].params.shape == ((1, 3, 8, 8),)
    (data, loss) = graph.train_layers
    assert data.message("transform_param").value("mean_file") == "m" and loss.value("type") == "SoftmaxWithLoss"


@pytest.mark.parametrize("kind", ["08", "5"])
def test_a_v0_type_that_is_unknown_is_no_number(kind):
    """It is quoted then. A bare 5 is DATA."""
    net = parse(f'layers {{ type: "{kind}" data_param {{ mirror: true }} }}')
    assert move_transforms(net) is net
