"""Definitions as people publish them, by kind: KINDS makes as many variants of each as are wanted, the same every time.

The kinds are those that 834 public definitions showed. A variant has its own depth, widths, sizes and names.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Entry:
    """A definition. inputs: the sizes that its user gives. refused: what the line says of a broken one; "" if it is read.

    caffe: whether real Caffe has all of its layers, so that it can be the judge. setup: makes the files that it names.
    """

    kind: str
    text: str
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    refused: str = ""
    caffe: bool = False
    setup: Callable[[Path], None] | None = None


def entries(variants: int = 14) -> Iterator[Entry]:
    """Yield this many variants of each kind."""
    for name, make in KINDS.items():
        for number in range(variants):
            text, facts = make(Draw(f"{name}/{number}"))
            yield Entry(name, text, **facts)


class Draw(random.Random):
    """A variant's random choices."""

    def layer(self, name: str, kind: str, bottoms: str, params: str = "", tops: str | None = None) -> str:
        """Return a layer's text; its top has its name."""
        blobs = [f'bottom: "{b}"' for b in bottoms.split()] + [
            f'top: "{t}"' for t in (name if tops is None else tops).split()
        ]
        return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {params} }}\n'

    def conv(self, name: str, bottom: str, outputs: int, kernel: int = 3, rest: str = "", param: str = "") -> str:
        """Return a convolution that keeps the size, with a ReLU in place."""
        made = f'num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} {rest} weight_filler {{ type: "msra" }}'
        return self.layer(name, "Convolution", bottom, f"{param} convolution_param {{ {made} }}") + self.layer(
            f"{name}/relu", "ReLU", name, tops=name
        )

    def body(self, bottom: str = "data", prefix: str = "conv") -> tuple[str, str]:
        """Return some convolutions and poolings, and the last blob."""
        text = ""
        for i in range(1, self.randint(2, 5)):
            name = f"{prefix}{i}"
            text += self.conv(name, bottom, self.choice((4, 6, 8)), self.choice((1, 3, 5)))
            bottom = name
            if self.random() < 0.4:
                text += self.layer(
                    f"{prefix}_pool{i}", "Pooling", bottom, "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"
                )
                bottom = f"{prefix}_pool{i}"
        return text, bottom

    def net(self, name: str = "") -> str:
        """Return the network's name, or none, as half of the files have."""
        return f'name: "{name or self.choice(("net", "Net v2", "VGG_ILSVRC"))}"\n' if self.random() < 0.7 else ""

    @property
    def size(self) -> int:
        """A side of an image."""
        return self.choice((24, 31, 32, 40))


def deploy(draw: Draw, size: int | None = None, name: str = "data") -> str:
    """Return one of the four ways to declare an input."""
    dims = (draw.choice((1, 2, 10)), 3, size or draw.size, size or draw.size)
    each = " ".join(f"dim: {n}" for n in dims)
    return draw.choice(
        (
            f'input: "{name}" ' + " ".join(f"input_dim: {n}" for n in dims) + "\n",
            f'input: "{name}" input_shape {{ {each} }}\n',
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {each} }} }} }}\n',
            f'layer {{ name: "in" type: "DummyData" top: "{name}" dummy_data_param {{ shape {{ {each} }} }} }}\n',
        )
    )


def classifier(draw: Draw, bottom: str, loss: bool = False) -> str:
    """Return the end of a classifier: for deployment, or for training."""
    text = draw.layer(
        "fc", "InnerProduct", bottom, 'inner_product_param { num_output: 10 weight_filler { type: "xavier" } }'
    )
    if not loss:
        return text + draw.layer("prob", "Softmax", "fc")
    test = "include { phase: TEST }"
    return text + draw.layer("acc", "Accuracy", "fc label", test) + draw.layer("loss", "SoftmaxWithLoss", "fc label")


def plain(draw: Draw):
    text, last = draw.body()
    return draw.net() + deploy(draw) + text + classifier(draw, last), {"caffe": True}


def data_layer(draw: Draw):
    """A train_val whose data layer does not say how large images are."""
    kind, param = draw.choice(
        (
            ("Data", 'data_param { source: "examples/train_lmdb" batch_size: 64 backend: LMDB }'),
            ("ImageData", 'image_data_param { source: "train.txt" batch_size: 32 }'),
            ("HDF5Data", 'hdf5_data_param { source: "train.h5.txt" batch_size: 8 }'),
            ("WindowData", 'window_data_param { source: "w.txt" batch_size: 8 crop_size: 32 }'),
            ("VideoData", 'video_data_param { source: "v.txt" batch_size: 8 }'),
        )
    )
    text, last = draw.body()
    data = draw.layer("data", kind, "", param, "data label")
    size = draw.size
    return draw.net() + data + text + classifier(draw, last, loss=True), {"inputs": {"data": (3, size, size)}}


def crop_size(draw: Draw):
    text, last = draw.body()
    data = f'data_param {{ source: "lmdb" batch_size: 4 backend: LMDB }} transform_param {{ crop_size: {draw.size} }}'
    return draw.net() + draw.layer("data", "Data", "", data, "data label") + text + classifier(
        draw, last, loss=True
    ), {}


def hdf5_file(draw: Draw):
    """The HDF5 file that the data layer names is there."""
    shape = (2, 3, draw.size, draw.size)

    def setup(folder: Path) -> None:
        import h5py

        with h5py.File(folder / "some.h5", "w") as file:
            file["data"], file["label"] = np.zeros(shape, np.float32), np.zeros(2, np.float32)
        (folder / "list.txt").write_text("some.h5\n")

    text, last = draw.body()
    data = draw.layer("data", "HDF5Data", "", 'hdf5_data_param { source: "list.txt" batch_size: 2 }', "data label")
    return draw.net() + data + text + classifier(draw, last, loss=True), {"setup": setup}


def memory_data(draw: Draw):
    size = draw.size
    text, last = draw.body()
    param = f"memory_data_param {{ batch_size: 1 channels: 3 height: {size} width: {size} }}"
    return draw.net() + draw.layer("data", "MemoryData", "", param, "data label") + text + classifier(
        draw, last, loss=True
    ), {}


def python_data(draw: Draw):
    """Faster R-CNN: a Python layer for the data, Python layers in the middle, Python and other losses."""
    tops = draw.choice(("data im_info gt_boxes", "data rois labels bbox_targets", "data label"))
    module = 'python_param { module: "roi_data_layer.layer" layer: "RoIDataLayer" param_str: "\'num_classes\': 21" }'
    text, last = draw.body()
    end = classifier(draw, last, loss=tops == "data label")
    if tops != "data label":
        other = tops.split()[1]
        made = 'python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" }'
        end = draw.conv("rpn", last, 8) + draw.layer("proposal", "Python", f"rpn {other}", made, "proposals")
        end += draw.layer("roi", "ROIPooling", f"{last} proposals", "roi_pooling_param { pooled_w: 6 pooled_h: 6 }")
        end += classifier(draw, "roi")
    size = draw.size
    return draw.net() + draw.layer("input-data", "Python", "", module, tops) + text + end, {
        "inputs": {"data": (1, 3, size, size)}
    }


def no_input(draw: Draw):
    """The size is given at run time: no input layer at all."""
    text, last = draw.body()
    return draw.net() + text + classifier(draw, last), {"inputs": {"data": (1, 3, draw.size, 32)}}


def open_sizes(draw: Draw):
    """dim: -1 or dim: 0, as exporters write."""
    text, last = draw.body()
    open_dim = draw.choice((-1, 0))
    given = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: {open_dim} dim: 3 dim: 32 dim: 32 }} }} }}\n'
    return draw.net() + given + text + classifier(draw, last), {"inputs": {"data": (1, 3, 32, 32)}}


def openpose(draw: Draw):
    """input_dim: 1 four times."""
    text, last = draw.body()
    size = draw.choice((32, 48))
    return draw.net() + 'input: "data" input_dim: 1 input_dim: 3 input_dim: 1 input_dim: 1\n' + text + draw.conv(
        "heat", last, 19, 1
    ), {"inputs": {"data": (1, 3, size, size)}}


def siamese(draw: Draw):
    """Two towers that share all weights by name."""
    size, widths = draw.size, [draw.choice((4, 6)) for _ in range(draw.randint(1, 3))]
    dims = f"dim: {draw.choice((1, 4))} dim: 3 dim: {size} dim: {size}"
    text = "".join(draw.layer(n, "Input", "", f"input_param {{ shape {{ {dims} }} }}") for n in "ab")
    for tower in "ab":
        bottom = tower
        for i, width in enumerate(widths):
            shared = f'param {{ name: "w{i}" }} param {{ name: "b{i}" }}'
            text += draw.conv(f"{tower}_c{i}", bottom, width, 3, param=shared)
            bottom = f"{tower}_c{i}"
        text += draw.layer(
            f"{tower}_feat",
            "InnerProduct",
            bottom,
            'param { name: "fw" } inner_product_param { num_output: 4 bias_term: false }',
        )
    return text + draw.layer("d", "Eltwise", "a_feat b_feat", "eltwise_param { coeff: 1 coeff: -1 }"), {"caffe": True}


def ssd(draw: Draw):
    """AnnotatedData, heads, PriorBox, DetectionOutput, an evaluator of the fork at the end."""
    size = draw.choice((48, 64))
    data = draw.layer(
        "data", "AnnotatedData", "", 'include { phase: TEST } data_param { source: "x" batch_size: 8 }', "data label"
    )
    text, last = draw.body()
    boxes = "prior_box_param { min_size: 10 max_size: 20 aspect_ratio: 2 flip: true variance: 0.1 }"
    text += draw.layer("prior", "PriorBox", f"{last} data", boxes)
    for kind, outputs in (("loc", 16), ("conf", 12)):
        text += draw.layer(
            kind, "Convolution", last, f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 }}"
        )
        text += draw.layer(f"{kind}_perm", "Permute", kind, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
        text += draw.layer(f"{kind}_flat", "Flatten", f"{kind}_perm", "flatten_param { axis: 1 }")
    text += draw.layer(
        "detection_out",
        "DetectionOutput",
        "loc_flat conf_flat prior",
        "detection_output_param { num_classes: 3 share_location: true }",
    )
    end = draw.choice(
        (
            draw.layer(
                "eval", "DetectionEvaluate", "detection_out label", "detection_evaluate_param { num_classes: 3 }"
            ),
            draw.layer("eval", "MapEvaluator", "detection_out label"),
            draw.layer("slience", "Silence", "detection_out label", tops=""),
        )
    )
    return draw.net() + data + text + end, {"inputs": {"data": (3, size, size)}}


def solver_net(draw: Draw):
    text, last = draw.body()
    field_name = draw.choice(("net_param", "train_net_param", "test_net_param"))
    return f"base_lr: 0.01 max_iter: 100\n{field_name} {{\n{deploy(draw)}{text}{classifier(draw, last)}}}\n", {}


def unnamed(draw: Draw):
    text, last = draw.body()
    for i in range(1, 6):
        if draw.random() < 0.8:
            text = text.replace(f'name: "conv{i}/relu" ', "")
    text = text.replace('name: "conv1" ', "", 1)
    return draw.net() + deploy(draw) + text + classifier(draw, last), {"caffe": True}


def twins(draw: Draw):
    """Copied layers that kept their names."""
    text, last = draw.body()
    for i in range(1, 6):
        text = text.replace(f'name: "conv{i}/relu"', 'name: "relu"')
    return draw.net() + deploy(draw) + text + classifier(draw, last), {"caffe": True}


def deeplab(draw: Draw):
    """Interp after an even pooling, and an Eltwise that proves the size."""
    size = 32
    text = draw.conv("c1", "data", 6) + draw.layer(
        "pool", "Pooling", "c1", "pooling_param { kernel_size: 2 stride: 2 }"
    )
    text += draw.conv("c2", "pool", 6) + draw.layer("up", "Interp", "c2", "interp_param { zoom_factor: 2 }")
    text += draw.layer("sum", "Eltwise", "c1 up") if draw.random() < 0.6 else draw.conv("c3", "up", 4)
    return draw.net() + deploy(draw, size) + text, {}


def pspnet(draw: Draw):
    text = ""
    bottom = "data"
    for i in range(draw.randint(1, 4)):
        text += draw.layer(
            f"c{i}", "Convolution", bottom, "convolution_param { num_output: 6 kernel_size: 3 pad: 1 bias_term: false }"
        )
        text += draw.layer(
            f"c{i}/bn",
            "BN",
            f"c{i}",
            "bn_param { slope_filler { value: 1 } bias_filler { value: 0 } frozen: true momentum: 0.95 }",
            f"c{i}",
        )
        text += draw.layer(f"c{i}/relu", "ReLU", f"c{i}", tops=f"c{i}")
        bottom = f"c{i}"
    text += draw.layer("up", "Interp", bottom, "interp_param { height: 60 width: 60 }")
    return draw.net() + deploy(draw) + text, {}


def enet(draw: Draw):
    """Pooling with a mask, and Upsample by it."""
    text = draw.conv("c1", "data", 6) + draw.layer(
        "pool", "Pooling", "c1", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }", "pool mask"
    )
    text += draw.conv("c2", "pool", 6)
    text += draw.layer("up", "Upsample", "c2 mask", "upsample_param { scale: 2 }") + draw.conv("c3", "up", 4)
    return draw.net() + deploy(draw, 32) + text, {}


def densenet(draw: Draw):
    """Concat, then BatchNorm, Scale and ReLU before each convolution."""
    text, bottom = draw.conv("c0", "data", 6), "c0"
    for i in range(draw.randint(1, 4)):
        text += draw.layer(f"bn{i}", "BatchNorm", bottom) + draw.layer(
            f"sc{i}", "Scale", f"bn{i}", "scale_param { bias_term: true }", f"bn{i}"
        )
        text += draw.layer(f"re{i}", "ReLU", f"bn{i}", tops=f"bn{i}")
        text += draw.layer(
            f"g{i}", "Convolution", f"bn{i}", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
        )
        text += draw.layer(f"cat{i}", "Concat", f"{bottom} g{i}")
        bottom = f"cat{i}"
    return draw.net() + deploy(draw) + text + classifier(draw, bottom), {"caffe": True}


def inception(draw: Draw):
    """Branches in any order of the Concat, one of them of two kxk."""
    text, last = draw.body()
    text += draw.conv("b1", last, 4, 1) + draw.conv("b3r", last, 4, 1) + draw.conv("b3", "b3r", 6)
    text += draw.conv("d3r", last, 4, 1) + draw.conv("d3a", "d3r", 4) + draw.conv("d3", "d3a", 4)
    text += draw.layer(
        "bp_pool", "Pooling", last, "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }"
    ) + draw.conv("bp", "bp_pool", 3, 1)
    order = draw.sample(("b1", "b3", "d3", "bp"), 4)
    text += draw.layer("cat", "Concat", " ".join(order))
    if draw.random() < 0.4:
        text += draw.layer("cat/scale", "Scale", "cat", "scale_param { bias_term: true }")
    last = "cat/scale" if "cat/scale" in text else "cat"
    return draw.net() + deploy(draw, 32) + text + classifier(draw, last), {"caffe": True}


def shufflenet(draw: Draw):
    text = draw.conv("c1", "data", 8) + draw.layer("sh", "ShuffleChannel", "c1", "shuffle_channel_param { group: 2 }")
    text += draw.layer(
        "dw", "ConvolutionDepthwise", "sh", "convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false }"
    )
    return draw.net() + deploy(draw) + text + classifier(draw, "dw"), {}


def recurrent(draw: Draw):
    text = 'layer { name: "words" type: "Input" top: "words" top: "cont" input_param { shape { dim: 5 dim: 2 } shape { dim: 5 dim: 2 } } }\n'
    text += draw.layer("emb", "Embed", "words", "embed_param { input_dim: 20 num_output: 6 bias_term: false }")
    text += draw.layer("lstm", "LSTM", "emb cont", f"recurrent_param {{ num_output: {draw.randint(3, 12)} }}")
    return text + draw.layer(
        "ip", "InnerProduct", "lstm", f"inner_product_param {{ num_output: {draw.randint(3, 20)} axis: 2 }}"
    ), {"caffe": True}


def heads(draw: Draw):
    """GoogLeNet's train_val: auxiliary heads of smaller weight, with layers for TRAIN alone."""
    size = draw.choice((32, 40))
    data = f'include {{ phase: TEST }} transform_param {{ crop_size: {size} }} data_param {{ source: "x" batch_size: 5 backend: LMDB }}'
    text, last = draw.body()
    text += draw.conv("aux", last, 4) + draw.layer(
        "aux_fc", "InnerProduct", "aux", "inner_product_param { num_output: 10 }"
    )
    text += draw.layer("aux_loss", "SoftmaxWithLoss", "aux_fc label", "loss_weight: 0.3")
    text += draw.layer("drop", "Dropout", last, "include { phase: TRAIN } dropout_param { dropout_ratio: 0.4 }", last)
    return draw.net() + draw.layer("data", "Data", "", data, "data label") + text + classifier(
        draw, last, loss=True
    ), {}


def stages(draw: Draw):
    text, last = draw.body()
    text += draw.layer("extra", "TanH", last, 'include { stage: "deploy" not_stage: "val" }')
    text += draw.layer("fixed", "AbsVal", last, "include { min_level: 0 }")
    return draw.net() + deploy(draw) + text + classifier(draw, "fixed"), {"caffe": True}


def unknown_type(draw: Draw):
    """A fork's layer in the middle, or at the end."""
    text, last = draw.body()
    kind = draw.choice(("ROIAlign", "MISHLayer", "GroupNorm", "DeformableConvolution", "CReLU"))
    text += draw.layer("odd", kind, last, f'{kind.lower()}_param {{ some: 3 other: "x" }}')
    return draw.net() + deploy(draw) + text + (draw.conv("after", "odd", 4) if draw.random() < 0.5 else ""), {}


def v1(draw: Draw):
    """The old form, with types in capitals and learning rates beside them."""
    size = draw.size
    text = f'name: "old"\ninput: "data" input_dim: 1 input_dim: 3 input_dim: {size} input_dim: {size}\n'
    text += (
        'layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 convolution_param { num_output: '
        + f"{draw.randint(3, 12)}"
        + " kernel_size: 3 stride: 2 } }\n"
    )
    text += 'layers { name: "r" type: RELU bottom: "c" top: "c" }\nlayers { name: "n" type: LRN bottom: "c" top: "n" lrn_param { local_size: 3 } }\n'
    text += (
        'layers { name: "p" type: POOLING bottom: "n" top: "p" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }\n'
    )
    return (
        text
        + 'layers { name: "f" type: INNER_PRODUCT bottom: "p" top: "f" inner_product_param { num_output: 5 } }\nlayers { name: "s" type: SOFTMAX bottom: "f" top: "s" }\n',
        {"caffe": True},
    )


def fcn(draw: Draw):
    """FCN: Python data, a Deconvolution and a Crop to the data."""
    module = 'python_param { module: "voc_layers" layer: "VOCSegDataLayer" }'
    text, last = draw.body()
    text += draw.layer("score", "Convolution", last, "convolution_param { num_output: 5 kernel_size: 1 }")
    text += draw.layer(
        "up", "Deconvolution", "score", "convolution_param { num_output: 5 kernel_size: 63 stride: 8 bias_term: false }"
    )
    text += draw.layer("crop", "Crop", "up data", "crop_param { axis: 2 offset: 2 }")
    text += draw.layer("loss", "SoftmaxWithLoss", "crop label", "loss_param { ignore_label: 255 normalize: false }")
    return draw.net() + draw.layer("data", "Python", "", module, "data label") + text, {
        "inputs": {"data": (1, 3, 40, 40)}
    }


def lmdb_file(draw: Draw):
    """The LMDB that the data layer names is there."""
    height, width = draw.size, draw.size

    def setup(folder: Path) -> None:
        from tests.real_images import write_lmdb

        shutil.rmtree(folder / "some_lmdb", ignore_errors=True)
        write_lmdb(folder / "some_lmdb", np.zeros((2, 40, 40, 3), np.uint8), np.arange(2), height, width)

    text, last = draw.body()
    param = 'data_param { source: "some_lmdb" batch_size: 2 backend: LMDB }'
    data = draw.layer("data", "Data", "", param, "data label")
    return draw.net() + data + text + classifier(draw, last, loss=True), {"setup": setup}


def dummy_data(draw: Draw):
    """DummyData for images and labels, once or as twins for both phases."""
    text, last = draw.body()
    shapes = f"dummy_data_param {{ shape {{ dim: 2 dim: 3 dim: {draw.size} dim: 32 }} shape {{ dim: 2 }} }}"
    phases = draw.choice((("",), ("include { phase: TRAIN }", "include { phase: TEST }")))
    data = "".join(draw.layer("data", "DummyData", "", f"{rule} {shapes}", "data label") for rule in phases)
    return draw.net() + data + text + classifier(draw, last, loss=True), {}


def train_data_alone(draw: Draw):
    """A train.prototxt without data for the TEST phase; without a size, the line says why and what to give."""
    text, last = draw.body()
    data = draw.layer("data", "Data", "", "include { phase: TRAIN } transform_param { crop_size: 32 }", "data label")
    return draw.net() + data + text + classifier(draw, last, loss=True), {"inputs": {"data": (3, draw.size, 32)}}


def siamese_pairs(draw: Draw):
    """Pairs in six channels, cut in two, and a ContrastiveLoss."""
    size, width, kernel = draw.size, draw.randint(3, 9), draw.choice((3, 5))
    data = draw.layer("pairs", "Data", "", 'data_param { source: "pairs" batch_size: 64 }', "pair_data sim")
    text = draw.layer("slice", "Slice", "pair_data", "slice_param { slice_dim: 1 slice_point: 3 }", "data data_p")
    for tower in ("", "_p"):
        shared = 'param { name: "w" lr_mult: 1 } param { name: "b" lr_mult: 2 }'
        text += draw.conv(f"conv{tower}", f"data{tower}", width, kernel, param=shared)
        text += draw.layer(f"feat{tower}", "InnerProduct", f"conv{tower}", "inner_product_param { num_output: 2 }")
    text += draw.layer("loss", "ContrastiveLoss", "feat feat_p sim", "contrastive_loss_param { margin: 1 }")
    return draw.net() + data + text, {"inputs": {"pair_data": (6, size, size)}}


def squeezenet(draw: Draw):
    """Fire modules: a squeeze, two expands, a Concat."""
    text, last = draw.body()
    for i in range(2, draw.randint(3, 5)):
        fire = f"fire{i}"
        text += draw.conv(f"{fire}/squeeze", last, 3, 1) + draw.conv(f"{fire}/e1", f"{fire}/squeeze", 4, 1)
        text += draw.conv(f"{fire}/e3", f"{fire}/squeeze", draw.choice((4, 5)))
        text += draw.layer(f"{fire}/concat", "Concat", f"{fire}/e1 {fire}/e3")
        last = f"{fire}/concat"
    text += draw.layer("pool", "Pooling", last, "pooling_param { pool: AVE global_pooling: true }")
    return draw.net() + deploy(draw) + text + draw.layer("prob", "Softmax", "pool"), {"caffe": True}


def resnet(draw: Draw):
    """Blocks of Convolution, BatchNorm and Scale, with and without a projection."""
    text, last = draw.conv("conv0", "data", 6), "conv0"
    for i in range(1, draw.randint(2, 4)):
        text += draw.conv(f"res{i}a", last, 4) + draw.conv(f"res{i}b", f"res{i}a", 6)
        text = text.replace(f'name: "res{i}b/relu" type: "ReLU"', f'name: "res{i}b/bn" type: "BatchNorm"')
        text += draw.layer(f"res{i}b/scale", "Scale", f"res{i}b", "scale_param { bias_term: true }", f"res{i}b")
        other = last
        if draw.random() < 0.5:
            text += draw.conv(f"res{i}p", last, 6, 1)
            other = f"res{i}p"
        text += draw.layer(f"res{i}", "Eltwise", " ".join(draw.sample((other, f"res{i}b"), 2)))
        text += draw.layer(f"res{i}/relu", "ReLU", f"res{i}", tops=f"res{i}")
        last = f"res{i}"
    return draw.net() + deploy(draw) + text + classifier(draw, last), {"caffe": True}


def v0(draw: Draw):
    """The oldest form: a layer in each of the `layers`, and a layer that pads."""
    size, kind = draw.size, draw.choice(("MAX", "AVE"))
    return (
        f"""input: "data" input_dim: 1 input_dim: 3 input_dim: {size} input_dim: {size}
layers {{ layer {{ name: "pad1" type: "padding" pad: {draw.randint(1, 2)} }} bottom: "data" top: "pad1" }}
layers {{ layer {{ name: "conv1" type: "conv" num_output: {draw.randint(3, 9)} kernelsize: 5 }} bottom: "pad1" top: "conv1" }}
layers {{ layer {{ name: "relu1" type: "relu" }} bottom: "conv1" top: "conv1" }}
layers {{ layer {{ name: "pool1" type: "pool" pool: {kind} kernelsize: 2 stride: 2 }} bottom: "conv1" top: "pool1" }}
layers {{ layer {{ name: "fc" type: "innerproduct" num_output: 5 }} bottom: "pool1" top: "fc" }}
layers {{ layer {{ name: "prob" type: "softmax" }} bottom: "fc" top: "prob" }}
""",
        {"caffe": True},
    )


def broken(draw: Draw):
    """What no reader can mend: the line says what it is."""
    text, last = draw.body()
    whole = draw.net() + deploy(draw) + text + classifier(draw, last)
    return draw.choice(
        (
            (whole.replace("num_output: 10", "num_output: $CLASSES"), {"refused": "template's placeholder"}),
            (whole.replace('type: "Softmax"', "type: Softmax"), {"refused": "needs a quoted string"}),
            (whole.rstrip()[:-1], {"refused": "is never closed"}),
            ("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", {"refused": "Git LFS"}),
            (whole + "<<<<<<< HEAD\n", {"refused": "merge"}),
            (whole.replace('bottom: "fc"', 'bottom: "fcc"'), {"refused": "did you mean 'fc'"}),
            (whole.replace('name: "fc"', 'name: "fc'), {"refused": "is a quote missing before it?"}),
            (whole.replace("kernel_size", "kernal_size"), {"refused": "kernal_size"}),
        )
    )


KINDS: dict[str, Callable[[Draw], tuple[str, dict[str, Any]]]] = {
    make.__name__: make
    for make in (
        plain, data_layer, crop_size, hdf5_file, memory_data, python_data, no_input, open_sizes, openpose, siamese, ssd, solver_net,
        unnamed, twins, deeplab, pspnet, enet, densenet, inception, shufflenet, recurrent, heads, stages, unknown_type, v1, fcn,
        lmdb_file, dummy_data, train_data_alone, siamese_pairs, squeezenet, resnet, v0, broken,
    )
}  # fmt: skip
