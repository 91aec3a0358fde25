"""Layers of Caffe's forks, one by one, for the engines that are to compute them."""

from __future__ import annotations

SHAPE = (2, 12, 6, 8)


def fork(kind: str, params: str = "", bottoms: str = "data", name: str = "y") -> str:
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends} top: "{name}" {params} }}\n'


CASES = {
    "relu6": fork("ReLU6"),
    "relu6 slope": fork("ReLU6", "relu6_param { negative_slope: 0.25 }"),
    "relu6 by relu_param": fork("ReLU6", "relu_param { negative_slope: 0.25 }"),
    "bn": fork("BN", "bn_param { frozen: true eps: 0.1 }"),
    "bn folded": fork("BN", "bn_param { bn_mode: INFERENCE }"),
    "nvcaffe": fork("BatchNorm", "batch_norm_param { scale_bias: true eps: 1e-9 }"),
    "normalize": fork("Normalize", "norm_param { across_spatial: false channel_shared: false }"),
    "normalize all": fork("Normalize", "norm_param { eps: 0.5 }"),
    "normalize image": fork("Normalize", "norm_param { channel_shared: false }"),
    "normalize place": fork("Normalize", "norm_param { across_spatial: false }"),
    "dropout": fork("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }"),
    "shuffle": fork("ShuffleChannel", "shuffle_channel_param { group: 3 }"),
    "shuffle 4": fork("ShuffleChannel", "shuffle_channel_param { group: 4 }"),
    "reorg": fork("Reorg", "reorg_param { stride: 2 }"),
    "reorg back": fork("Reorg", "reorg_param { stride: 2 reverse: true }"),
    "crop": fork("CropCenter", "crop_center_param { crop_size: 0 crop_size: 3 crop_size: 0 crop_size: 1 }"),
    "upsample": fork("Upsample", "upsample_param { scale: 3 }"),
    "interp zoom": fork("Interp", "interp_param { zoom_factor: 3 }"),
    "interp shrink": fork("Interp", "interp_param { shrink_factor: 2 }"),
    "interp size": fork("Interp", "interp_param { height: 13 width: 5 }"),
    "interp one": fork("Interp", "interp_param { height: 1 width: 8 }"),
    "interp same": fork("Interp", "interp_param { height: 6 width: 8 }"),
    "interp cut": fork("Interp", "interp_param { height: 9 width: 10 pad_beg: -1 pad_end: -2 }"),
    "interp like": fork("Convolution", "convolution_param { num_output: 2 kernel_size: 2 stride: 2 }", name="c") + fork("Interp", "", "c data"),
    "depthwise": fork("DepthwiseConvolution", "convolution_param { num_output: 12 group: 12 kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 }"),
    "of depth": fork("ConvolutionDepthwise", "convolution_param { num_output: 12 kernel_size: 3 dilation: 2 bias_term: false }"),
    "hole": fork("Convolution", "convolution_param { num_output: 5 kernel_size: 3 hole: 2 }"),
}  # fmt: skip
