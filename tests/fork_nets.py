"""Fragments of networks as Caffe's forks have them: SSD on MobileNet, ENet, PSPNet, YOLO, SENet, ShuffleNet, NVCaffe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import expected_weights, infer_shapes


def _in_place(blob: str, name: str, kind: str, params: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{blob}" top: "{blob}" {params} }}\n'


def _batch_norm(blob: str, activation: str = "ReLU") -> str:
    return (
        _in_place(blob, f"{blob}/bn", "BatchNorm", "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }")
        + _in_place(
            blob,
            f"{blob}/scale",
            "Scale",
            "scale_param { filler { value: 1 } bias_term: true bias_filler { value: 0 } }",
        )
        + _in_place(blob, f"{blob}/relu", activation)
    )


def _head(feature: str, low: float, high: float, ratios: str) -> str:
    """SSD's three branches on a feature map: offsets, scores, prior boxes."""
    text = ""
    for kind, outputs in (("loc", 4 * 6), ("conf", 3 * 6)):
        name = f"{feature}_mbox_{kind}"
        text += f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{feature}" top: "{name}"
  param {{ lr_mult: 1.0 decay_mult: 1.0 }} param {{ lr_mult: 2.0 decay_mult: 0.0 }}
  convolution_param {{ num_output: {outputs} kernel_size: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat" flatten_param {{ axis: 1 }} }}
"""
    return (
        text
        + f"""
layer {{ name: "{feature}_mbox_priorbox" type: "PriorBox" bottom: "{feature}" bottom: "data" top: "{feature}_mbox_priorbox"
  prior_box_param {{ min_size: {low} max_size: {high} {ratios} flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 }} }}
"""
    )


RATIOS = "aspect_ratio: 2.0 aspect_ratio: 3.0"  # with 1, both flipped, and the larger square: 6 boxes

SSD_MOBILENET = (
    """name: "MobileNet-SSD"
input: "data"
input_shape { dim: 1 dim: 3 dim: 48 dim: 40 }
layer { name: "conv0" type: "Convolution" bottom: "data" top: "conv0" param { lr_mult: 0.1 decay_mult: 0.1 }
  convolution_param { num_output: 8 bias_term: false pad: 1 kernel_size: 3 stride: 2 weight_filler { type: "msra" } } }
"""
    + _batch_norm("conv0")
    + """
layer { name: "conv1/dw" type: "DepthwiseConvolution" bottom: "conv0" top: "conv1/dw" param { lr_mult: 0.1 decay_mult: 0.1 }
  convolution_param { num_output: 8 bias_term: false pad: 1 kernel_size: 3 group: 8 engine: CAFFE weight_filler { type: "msra" } } }
"""
    + _batch_norm("conv1/dw", "ReLU6")
    + """
layer { name: "conv1" type: "Convolution" bottom: "conv1/dw" top: "conv1" param { lr_mult: 0.1 decay_mult: 0.1 }
  convolution_param { num_output: 12 bias_term: false kernel_size: 1 weight_filler { type: "msra" } } }
"""
    + _batch_norm("conv1")
    + """
layer { name: "conv2/dw" type: "ConvolutionDepthwise" bottom: "conv1" top: "conv2/dw" param { lr_mult: 0.1 }
  convolution_param { num_output: 12 bias_term: false pad: 1 kernel_size: 3 stride: 2 } }
"""
    + _batch_norm("conv2/dw")
    + """
layer { name: "conv1_norm" type: "Normalize" bottom: "conv1" top: "conv1_norm"
  norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } channel_shared: false } }
"""
    + _head("conv1_norm", 10, 20, RATIOS)
    + _head("conv2/dw", 20.0, 30.5, RATIOS)
    + "".join(
        f"""
layer {{ name: "mbox_{kind}" type: "Concat" bottom: "conv1_norm_mbox_{tail}" bottom: "conv2/dw_mbox_{tail}" top: "mbox_{kind}"
  concat_param {{ axis: {axis} }} }}
"""
        for kind, tail, axis in (("loc", "loc_flat", 1), ("conf", "conf_flat", 1), ("priorbox", "priorbox", 2))
    )
    + """
layer { name: "mbox_conf_reshape" type: "Reshape" bottom: "mbox_conf" top: "mbox_conf_reshape"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "mbox_conf_softmax" type: "Softmax" bottom: "mbox_conf_reshape" top: "mbox_conf_softmax" softmax_param { axis: 2 } }
layer { name: "mbox_conf_flatten" type: "Flatten" bottom: "mbox_conf_softmax" top: "mbox_conf_flatten" flatten_param { axis: 1 } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf_flatten" bottom: "mbox_priorbox"
  top: "detection_out" include { phase: TEST }
  detection_output_param { num_classes: 3 share_location: true background_label_id: 0
    nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CENTER_SIZE keep_top_k: 100 confidence_threshold: 0.25 } }
"""
)

BN_INFERENCE = 'bn_param { scale_filler { type: "constant" value: 1 } shift_filler { type: "constant" value: 0.001 } bn_mode: INFERENCE }'

ENET = f"""name: "ENet"
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 4 dim: 16 dim: 24 }} }} }}
layer {{ name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn1_1" type: "BN" bottom: "conv1_1" top: "conv1_1" {BN_INFERENCE} }}
layer {{ name: "prelu1_1" type: "PReLU" bottom: "conv1_1" top: "conv1_1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1_1" top: "pool1" top: "pool1_mask"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "conv2_1" type: "Convolution" bottom: "pool1" top: "conv2_1"
  convolution_param {{ num_output: 6 pad_h: 0 pad_w: 4 kernel_h: 1 kernel_w: 5 dilation: 1 dilation: 2 bias_term: false }} }}
layer {{ name: "bn2_1" type: "BN" bottom: "conv2_1" top: "bn2_1" {BN_INFERENCE} }}
layer {{ name: "drop2_1" type: "SpatialDropout" bottom: "bn2_1" top: "drop2_1" spatial_dropout_param {{ dropout_ratio: 0.1 }} }}
layer {{ name: "sum2_1" type: "Eltwise" bottom: "pool1" bottom: "drop2_1" top: "sum2_1" eltwise_param {{ operation: SUM }} }}
layer {{ name: "conv3_1" type: "Convolution" bottom: "bn2_1" top: "conv3_1" convolution_param {{ num_output: 6 kernel_size: 1 }} }}
layer {{ name: "bn3_1" type: "BN" bottom: "conv3_1" top: "conv3_1" {BN_INFERENCE} }}
layer {{ name: "upsample3" type: "Upsample" bottom: "conv3_1" bottom: "pool1_mask" top: "upsample3"
  upsample_param {{ upsample_h: 16 upsample_w: 24 }} }}
layer {{ name: "deconv4" type: "Deconvolution" bottom: "upsample3" top: "deconv4"
  convolution_param {{ num_output: 3 kernel_size: 2 stride: 2 bias_term: false }} }}
layer {{ name: "bn4" type: "BN" bottom: "deconv4" top: "bn4" {BN_INFERENCE} }}
"""

PSP_BN = """param { lr_mult: 1 decay_mult: 0 } param { lr_mult: 1 decay_mult: 0 } param { lr_mult: 1 decay_mult: 0 } param { lr_mult: 1 decay_mult: 0 }
  bn_param { slope_filler { type: "constant" value: 1 } bias_filler { type: "constant" value: 0 } frozen: true momentum: 0.95 }"""

PSPNET = f"""name: "pspnet"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 25 input_dim: 33
layer {{ name: "conv1_1_3x3_s2" type: "Convolution" bottom: "data" top: "conv1_1_3x3_s2" param {{ lr_mult: 1 decay_mult: 1 }}
  convolution_param {{ num_output: 8 pad: 1 kernel_size: 3 stride: 2 bias_term: false weight_filler {{ type: "msra" }} }} }}
layer {{ name: "conv1_1_3x3_s2/bn" type: "BN" bottom: "conv1_1_3x3_s2" top: "conv1_1_3x3_s2/bn" {PSP_BN} }}
layer {{ name: "conv1_1_3x3_s2/relu" type: "ReLU" bottom: "conv1_1_3x3_s2/bn" top: "conv1_1_3x3_s2/bn" }}
layer {{ name: "conv4_3x3" type: "Convolution" bottom: "conv1_1_3x3_s2/bn" top: "conv4_3x3"
  convolution_param {{ num_output: 8 pad: 2 hole: 2 kernel_size: 3 bias_term: false weight_filler {{ type: "msra" }} }} }}
layer {{ name: "conv4_3x3/bn" type: "BN" bottom: "conv4_3x3" top: "conv4_3x3/bn" {PSP_BN} }}
layer {{ name: "conv4_3x3/relu" type: "ReLU" bottom: "conv4_3x3/bn" top: "conv4_3x3/bn" }}
layer {{ name: "conv5_3_pool2" type: "Pooling" bottom: "conv4_3x3/bn" top: "conv5_3_pool2"
  pooling_param {{ pool: AVE kernel_h: 6 kernel_w: 8 stride_h: 6 stride_w: 8 }} }}
layer {{ name: "conv5_3_pool2_conv" type: "Convolution" bottom: "conv5_3_pool2" top: "conv5_3_pool2_conv"
  convolution_param {{ num_output: 4 kernel_size: 1 bias_term: false }} }}
layer {{ name: "conv5_3_pool2_conv/bn" type: "BN" bottom: "conv5_3_pool2_conv" top: "conv5_3_pool2_conv/bn" {PSP_BN} }}
layer {{ name: "conv5_3_pool2_interp" type: "Interp" bottom: "conv5_3_pool2_conv/bn" top: "conv5_3_pool2_interp"
  interp_param {{ height: 13 width: 17 }} }}
layer {{ name: "conv5_3_concat" type: "Concat" bottom: "conv4_3x3/bn" bottom: "conv5_3_pool2_interp" top: "conv5_3_concat" }}
layer {{ name: "conv6" type: "Convolution" bottom: "conv5_3_concat" top: "conv6" convolution_param {{ num_output: 5 kernel_size: 1 }} }}
layer {{ name: "conv6_interp" type: "Interp" bottom: "conv6" top: "conv6_interp" interp_param {{ zoom_factor: 2 }} }}
"""

YOLO = (
    """name: "yolo"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "layer1-conv" type: "Convolution" bottom: "data" top: "layer1-conv"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 1 bias_term: false } }
layer { name: "layer1-bn" type: "BatchNorm" bottom: "layer1-conv" top: "layer1-conv" batch_norm_param { use_global_stats: true eps: 1e-6 } }
layer { name: "layer1-scale" type: "Scale" bottom: "layer1-conv" top: "layer1-conv" scale_param { bias_term: true } }
layer { name: "layer1-act" type: "ReLU" bottom: "layer1-conv" top: "layer1-conv" relu_param { negative_slope: 0.1 } }
layer { name: "layer2-conv" type: "Convolution" bottom: "layer1-conv" top: "layer2-conv"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 stride: 2 bias_term: false } }
layer { name: "layer2-bn" type: "BatchNorm" bottom: "layer2-conv" top: "layer2-conv" batch_norm_param { use_global_stats: true } }
layer { name: "layer2-scale" type: "Scale" bottom: "layer2-conv" top: "layer2-conv" scale_param { bias_term: true } }
layer { name: "layer2-act" type: "ReLU" bottom: "layer2-conv" top: "layer2-conv" relu_param { negative_slope: 0.1 } }
layer { name: "reorg" type: "Reorg" bottom: "layer1-conv" top: "reorg" reorg_param { stride: 2 } }
layer { name: "route" type: "Concat" bottom: "reorg" bottom: "layer2-conv" top: "route" }
layer { name: "layer3-conv" type: "Convolution" bottom: "route" top: "layer3-conv"
  convolution_param { num_output: 24 kernel_size: 1 bias_term: true } }
layer { name: "layer4-upsample" type: "Upsample" bottom: "layer3-conv" top: "layer4-upsample" upsample_param { scale: 2 } }
layer { name: "layer5-conv" type: "Convolution" bottom: "layer4-upsample" top: "layer5-conv"
  convolution_param { num_output: 24 kernel_size: 1 } }
"""
    """layer { name: "detection_out" type: "Yolov3DetectionOutput" bottom: "layer3-conv" bottom: "layer5-conv" top: "detection_out"
  yolov3_detection_output_param { confidence_threshold: 0.3 nms_threshold: 0.45 num_classes: 3
    biases: 10 biases: 14 biases: 23 biases: 27 mask: 0 mask: 1 anchors_scale: 32 anchors_scale: 16 mask_group_num: 2 } }
"""
)

SENET = """name: "se"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 9 dim: 7 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 3 bias_term: false } }
layer { name: "conv/bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "conv/scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "proj" type: "Convolution" bottom: "data" top: "proj" convolution_param { num_output: 6 kernel_size: 3 bias_term: false } }
layer { name: "proj/bn" type: "BatchNorm" bottom: "proj" top: "proj" }
layer { name: "proj/scale" type: "Scale" bottom: "proj" top: "proj" scale_param { bias_term: true } }
layer { name: "global_pool" type: "Pooling" bottom: "conv" top: "global_pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "down" type: "Convolution" bottom: "global_pool" top: "down" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "down/relu" type: "ReLU" bottom: "down" top: "down" }
layer { name: "up" type: "Convolution" bottom: "down" top: "up" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "prob" type: "Sigmoid" bottom: "up" top: "prob" }
layer { name: "out" type: "Axpy" bottom: "prob" bottom: "conv" bottom: "proj" top: "out" }
layer { name: "out/relu" type: "ReLU" bottom: "out" top: "out" }
"""

SHUFFLENET = """name: "shuffle"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 6 dim: 10 dim: 8 } } }
layer { name: "resx1_conv1" type: "Convolution" bottom: "data" top: "resx1_conv1"
  convolution_param { num_output: 12 kernel_size: 1 group: 3 bias_term: false } }
layer { name: "resx1_conv1_bn" type: "BatchNorm" bottom: "resx1_conv1" top: "resx1_conv1" }
layer { name: "resx1_conv1_scale" type: "Scale" bottom: "resx1_conv1" top: "resx1_conv1" scale_param { bias_term: true } }
layer { name: "resx1_conv1_relu" type: "ReLU" bottom: "resx1_conv1" top: "resx1_conv1" }
layer { name: "shuffle1" type: "ShuffleChannel" bottom: "resx1_conv1" top: "shuffle1" shuffle_channel_param { group: 3 } }
layer { name: "resx1_conv2" type: "ConvolutionDepthwise" bottom: "shuffle1" top: "resx1_conv2"
  convolution_param { num_output: 12 kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 bias_term: false } }
layer { name: "resx1_conv2_bn" type: "BatchNorm" bottom: "resx1_conv2" top: "resx1_conv2" }
layer { name: "resx1_conv2_scale" type: "Scale" bottom: "resx1_conv2" top: "resx1_conv2" scale_param { bias_term: true } }
layer { name: "swish" type: "Swish" bottom: "resx1_conv2" top: "swish" swish_param { beta: 1.5 } }
layer { name: "crop" type: "CropCenter" bottom: "swish" top: "crop"
  crop_center_param { crop_size: 0 crop_size: 0 crop_size: 1 crop_size: 1 } }
"""

NVCAFFE = """name: "nv"
default_forward_type: FLOAT16
default_backward_type: FLOAT16
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 11 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" forward_math: FLOAT cudnn_math_override: 0
  convolution_param { num_output: 5 kernel_h: 3 kernel_w: 2 stride: 2 bias_term: false cudnn_convolution_algo_seeker: FINDEX } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" batch_norm_param { moving_average_fraction: 0.9 eps: 1e-8 scale_bias: true } }
layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }
"""

NETS = {
    "ssd_mobilenet": SSD_MOBILENET, "enet": ENET, "pspnet": PSPNET, "yolo": YOLO, "senet": SENET, "shufflenet": SHUFFLENET, "nvcaffe": NVCAFFE,
}  # fmt: skip


def fill(graph: Graph, seed: int = 5) -> Graph:
    """Weights like a trained network's, those of forks' layers included; returns the graph."""
    shapes, rng = infer_shapes(graph), np.random.default_rng(seed)
    for layer in graph.layers:
        wanted = expected_weights(layer, [shapes[b] for b in layer.bottoms]) or []
        layer.weights = [np.asarray(_blob(layer, i, s, rng), np.float32).reshape(s) for i, s in enumerate(wanted)]
    return graph


def _blob(layer: Layer, index: int, shape: tuple[int, ...], rng: np.random.Generator):
    """Statistics by their place: BVLC's are sums with their factor, all others are means."""
    slope, shift = rng.normal(0.3, 1, shape), rng.normal(0, 1, shape)
    mean, variance = rng.normal(0, 1, shape), rng.uniform(0.05, 3, shape)
    places: dict[str, Callable] = {
        "BN": lambda: (slope, shift, mean, variance)[index],
        "BatchNorm": lambda: (
            (mean, variance, np.full(shape, 1.0 if layer.params.scale_bias else 2.5), slope, shift)[index]
            * (2.5 if index < 2 and not layer.params.scale_bias else 1)
        ),
        "Scale": lambda: (slope, shift)[index],
        "Normalize": lambda: rng.uniform(5, 20, shape),
        "PReLU": lambda: rng.uniform(0.05, 0.5, shape),
    }
    if layer.type in places:
        return places[layer.type]()
    return rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]) if index == 0 else 1)
