"""Typed layer parameters: one frozen dataclass for each layer type that deepmerge understands.

The field names and defaults are the format's (caffe.proto), except that the many spellings of a window (kernel_size,
kernel_h, …) are read into one: `kernel_h`, `kernel_w`, `stride_h`, …. `FIELD` is the layer's message that holds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Params:
    """Base of all; `FIELD` is empty where a type has no parameters of its own."""

    FIELD: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class Window(Params):
    """A sliding window over height and width (base of Convolution, Pooling, Im2col)."""

    kernel_h: int = 0
    kernel_w: int = 0
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0

    @property
    def kernel(self) -> tuple[int, int]:
        """(height, width)."""
        return self.kernel_h, self.kernel_w

    @property
    def stride(self) -> tuple[int, int]:
        """(height, width)."""
        return self.stride_h, self.stride_w

    @property
    def pad(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pad_h, self.pad_w


@dataclass(frozen=True, kw_only=True)
class Im2col(Window):
    """Caffe: im2col_layer.cpp. `kernel_nd` and its like hold windows of other than two axes."""

    FIELD: ClassVar[str] = "convolution_param"
    dilation_h: int = 1
    dilation_w: int = 1
    axis: int = 1
    kernel_nd: tuple[int, ...] = ()
    stride_nd: tuple[int, ...] = ()
    pad_nd: tuple[int, ...] = ()
    dilation_nd: tuple[int, ...] = ()

    @property
    def dilation(self) -> tuple[int, int]:
        """(height, width)."""
        return self.dilation_h, self.dilation_w


@dataclass(frozen=True, kw_only=True)
class Convolution(Im2col):
    """Caffe: base_conv_layer.cpp. Weights (num_output, channels/group, kernel_h, kernel_w)."""

    num_output: int
    group: int = 1
    bias_term: bool = True


@dataclass(frozen=True, kw_only=True)
class Deconvolution(Convolution):
    """Caffe: deconv_layer.cpp. Weights (channels, num_output/group, kernel_h, kernel_w)."""


@dataclass(frozen=True, kw_only=True)
class Pooling(Window):
    """Caffe: pooling_layer.cpp. `ceil` is Caffe's rounding; forks' floor spellings clear it."""

    FIELD: ClassVar[str] = "pooling_param"
    pool: str = "MAX"
    global_pooling: bool = False
    ceil: bool = True


@dataclass(frozen=True, kw_only=True)
class InnerProduct(Params):
    """Caffe: inner_product_layer.cpp. Weights (num_output, inputs), or transposed."""

    FIELD: ClassVar[str] = "inner_product_param"
    num_output: int
    bias_term: bool = True
    axis: int = 1
    transpose: bool = False


@dataclass(frozen=True, kw_only=True)
class LRN(Params):
    """Caffe: lrn_layer.cpp. alpha is divided by the window's size."""

    FIELD: ClassVar[str] = "lrn_param"
    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    norm_region: str = "ACROSS_CHANNELS"


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Params):
    """Caffe: batch_norm_layer.cpp. Blobs: mean (C), variance (C), scale factor (1).

    scale_bias: whether it is NVCaffe's, with a scale (C) and a bias (C) after these. NVCaffe: batch_norm_layer.cpp.
    """

    FIELD: ClassVar[str] = "batch_norm_param"
    use_global_stats: bool | None = None
    moving_average_fraction: float = 0.999
    eps: float = 1e-5
    scale_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Scale(Params):
    """Caffe: scale_layer.cpp."""

    FIELD: ClassVar[str] = "scale_param"
    axis: int = 1
    num_axes: int = 1
    bias_term: bool = False


@dataclass(frozen=True, kw_only=True)
class Bias(Params):
    """Caffe: bias_layer.cpp."""

    FIELD: ClassVar[str] = "bias_param"
    axis: int = 1
    num_axes: int = 1


@dataclass(frozen=True, kw_only=True)
class ReLU(Params):
    """max(x, 0) + negative_slope · min(x, 0)."""

    FIELD: ClassVar[str] = "relu_param"
    negative_slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PReLU(Params):
    """ReLU with a learned slope for each channel, or one for all."""

    FIELD: ClassVar[str] = "prelu_param"
    channel_shared: bool = False


@dataclass(frozen=True, kw_only=True)
class ELU(Params):
    """x above 0, alpha · (exp(x) − 1) below."""

    FIELD: ClassVar[str] = "elu_param"
    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Swish(Params):
    """x · sigmoid(beta · x)."""

    FIELD: ClassVar[str] = "swish_param"
    beta: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Clip(Params):
    """Limits values to min … max."""

    FIELD: ClassVar[str] = "clip_param"
    min: float
    max: float


@dataclass(frozen=True, kw_only=True)
class Dropout(Params):
    """Drops values in training; the identity in the TEST phase, but for two forks.

    scale_train: a field of caffe-fast-rcnn. If false, it scales by 1 - dropout_ratio in TEST, and not in training.
    sample_weights_test: a field of caffe-segnet. If true, it drops values in TEST, too.
    """

    FIELD: ClassVar[str] = "dropout_param"
    dropout_ratio: float = 0.5
    scale_train: bool = True
    sample_weights_test: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether it passes its bottom on in the TEST phase."""
        return self.scale_train and not self.sample_weights_test


@dataclass(frozen=True, kw_only=True)
class Power(Params):
    """(shift + scale · x) ^ power."""

    FIELD: ClassVar[str] = "power_param"
    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Exp(Params):
    """base ^ (shift + scale · x); base −1 means e."""

    FIELD: ClassVar[str] = "exp_param"
    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    @property
    def inner_scale(self) -> float:
        """The factor of x inside exp. Caffe: exp_layer.cpp."""
        return _log(self.base) * self.scale

    @property
    def outer_scale(self) -> float:
        """The factor of exp, base ^ shift: in float32, as in Caffe, where too large values become infinite."""
        with np.errstate(over="ignore"):
            return float(np.float32(np.exp(_log(self.base) * self.shift)))


@dataclass(frozen=True, kw_only=True)
class Log(Params):
    """log_base(shift + scale · x); base −1 means e."""

    FIELD: ClassVar[str] = "log_param"
    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    @property
    def outer_scale(self) -> float:
        """The factor of the natural logarithm. Caffe: log_layer.cpp."""
        return 1 / _log(self.base)


def _log(base: float) -> float:
    return 1.0 if base == -1 else math.log(base)


@dataclass(frozen=True, kw_only=True)
class Threshold(Params):
    """1 above the threshold, else 0."""

    FIELD: ClassVar[str] = "threshold_param"
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Concat(Params):
    """`concat_dim` is the old spelling of `axis`, and wins over it."""

    FIELD: ClassVar[str] = "concat_param"
    axis: int = 1


@dataclass(frozen=True, kw_only=True)
class Slice(Params):
    """`slice_dim` is the old spelling of `axis`, and wins over it."""

    FIELD: ClassVar[str] = "slice_param"
    axis: int = 1
    slice_point: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Eltwise(Params):
    """Sum (with a factor for each bottom), product or maximum of its bottoms."""

    FIELD: ClassVar[str] = "eltwise_param"
    operation: str = "SUM"
    coeff: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Softmax(Params):
    """Normalised exponentials along an axis."""

    FIELD: ClassVar[str] = "softmax_param"
    axis: int = 1


@dataclass(frozen=True, kw_only=True)
class Input(Params):
    """One shape for all tops, or one for each."""

    FIELD: ClassVar[str] = "input_param"
    shape: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DummyData(Params):
    """`shape` holds one shape for each top, or one for all; legacy dims are read into it."""

    FIELD: ClassVar[str] = "dummy_data_param"
    shape: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Parameter(Params):
    """A learned blob as a top."""

    FIELD: ClassVar[str] = "parameter_param"
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Flatten(Params):
    """Joins the axes from `axis` to `end_axis`."""

    FIELD: ClassVar[str] = "flatten_param"
    axis: int = 1
    end_axis: int = -1


@dataclass(frozen=True, kw_only=True)
class Reshape(Params):
    """`shape` as in the file: 0 copies the bottom's size, −1 takes what is left."""

    FIELD: ClassVar[str] = "reshape_param"
    shape: tuple[int, ...] = ()
    axis: int = 0
    num_axes: int = -1


@dataclass(frozen=True, kw_only=True)
class Reduction(Params):
    """Reduces all axes from `axis` on."""

    FIELD: ClassVar[str] = "reduction_param"
    operation: str = "SUM"
    axis: int = 0
    coeff: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ArgMax(Params):
    """The indices, or values, of the top_k largest values."""

    FIELD: ClassVar[str] = "argmax_param"
    out_max_val: bool = False
    top_k: int = 1
    axis: int | None = None


@dataclass(frozen=True, kw_only=True)
class Crop(Params):
    """Cuts the first bottom to the size of the second, from `axis` on."""

    FIELD: ClassVar[str] = "crop_param"
    axis: int = 2
    offset: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Embed(Params):
    """Weights (input_dim, num_output)."""

    FIELD: ClassVar[str] = "embed_param"
    num_output: int
    input_dim: int
    bias_term: bool = True


@dataclass(frozen=True, kw_only=True)
class MVN(Params):
    """Subtracts the mean and divides by the deviation, for each image."""

    FIELD: ClassVar[str] = "mvn_param"
    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9


@dataclass(frozen=True, kw_only=True)
class SPP(Params):
    """Spatial pyramid pooling."""

    FIELD: ClassVar[str] = "spp_param"
    pyramid_height: int
    pool: str = "MAX"


@dataclass(frozen=True, kw_only=True)
class Tile(Params):
    """Repeats the bottom `tiles` times along an axis."""

    FIELD: ClassVar[str] = "tile_param"
    axis: int = 1
    tiles: int


@dataclass(frozen=True, kw_only=True)
class Permute(Params):
    """SSD's layer, in several forks."""

    FIELD: ClassVar[str] = "permute_param"
    order: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recurrent(Params):
    """LSTM and RNN. `expose_hidden` adds bottoms and tops for the state."""

    FIELD: ClassVar[str] = "recurrent_param"
    num_output: int
    expose_hidden: bool = False


@dataclass(frozen=True, kw_only=True)
class Accuracy(Params):
    """The share of images whose label is among the top_k predictions."""

    FIELD: ClassVar[str] = "accuracy_param"
    top_k: int = 1
    axis: int = 1
    ignore_label: int | None = None


@dataclass(frozen=True, kw_only=True)
class Loss(Params):
    """Base of the losses that use `loss_param`. Caffe: loss_layer.hpp.

    normalization: FULL, VALID, BATCH_SIZE or NONE; `normalize`, its older spelling, is read into it.
    """

    ignore_label: int | None = None
    normalization: str = "VALID"


@dataclass(frozen=True, kw_only=True)
class SoftmaxWithLoss(Softmax, Loss):
    """Caffe: softmax_loss_layer.cpp."""


@dataclass(frozen=True, kw_only=True)
class SigmoidCrossEntropyLoss(Loss):
    """Caffe: sigmoid_cross_entropy_loss_layer.cpp, whose own default is BATCH_SIZE."""

    normalization: str = "BATCH_SIZE"


@dataclass(frozen=True, kw_only=True)
class InfogainLoss(Loss):
    """Caffe: infogain_loss_layer.cpp."""

    FIELD: ClassVar[str] = "infogain_loss_param"
    axis: int = 1


@dataclass(frozen=True, kw_only=True)
class HingeLoss(Params):
    """Caffe: hinge_loss_layer.cpp."""

    FIELD: ClassVar[str] = "hinge_loss_param"
    norm: str = "L1"


@dataclass(frozen=True, kw_only=True)
class ContrastiveLoss(Params):
    """Caffe: contrastive_loss_layer.cpp."""

    FIELD: ClassVar[str] = "contrastive_loss_param"
    margin: float = 1.0
    legacy_version: bool = False


@dataclass(frozen=True, kw_only=True)
class Plain(Params):
    """A layer type without parameters of its own, or with none that deepmerge needs."""
