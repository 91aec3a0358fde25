"""Typed parameters of the layers that public forks of Caffe add to BVLC's.

Names and defaults are the forks' (their caffe.proto). Each fork numbers its fields differently, so none of these are in
our schema: they are read by name (formats/read/forks.py). Where forks use one name for different layers, the docstring
says how they are distinguished; a layer for which that fails stays unknown, and is passed through unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deepmerge.graph.params import Convolution, Params


@dataclass(frozen=True, kw_only=True)
class DepthwiseConvolution(Convolution):
    """A Convolution with a faster kernel for one group for each channel.

    DepthwiseConvolution (yonghenglh6) and ConvolutionDepthwise (farmingyard) both have Convolution's blobs. The latter
    ignores `group`, and makes one top channel of each bottom channel.
    """


@dataclass(frozen=True, kw_only=True)
class ReLU6(Params):
    """min(max(x, 0) + negative_slope · min(x, 0), 6). MobileNet-YOLO: relu6_layer.cpp.

    Some files give relu_param instead.
    """

    FIELD: ClassVar[str] = "relu6_param"
    negative_slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class BN(Params):
    """BatchNorm and Scale in one layer. Forks use the type for different layers; `statistics` says which it is.

    stored: blobs slope, bias, mean, variance (PSPNet, yjxiong): y = slope · (x − mean) / sqrt(variance + eps) + bias.
    folded: blobs scale, shift (SegNet and ENet, bn_mode: INFERENCE): y = scale · x + shift.
    batch: normalises by the batch at hand, also at test time (SegNet's LEARN; moving_average: false).
    unclear: bn_param does not say.
    """

    FIELD: ClassVar[str] = "bn_param"
    statistics: str = "unclear"
    eps: float = 1e-5
    axis: int = 1


@dataclass(frozen=True, kw_only=True)
class Normalize(Params):
    """x / sqrt(Σx² + eps), over the channels or the whole image, times a learned scale. SSD: normalize_layer.cpp."""

    FIELD: ClassVar[str] = "norm_param"
    across_spatial: bool = True
    channel_shared: bool = True
    eps: float = 1e-10


@dataclass(frozen=True, kw_only=True)
class PriorBox(Params):
    """SSD: prior_box_layer.cpp. Only the fields that decide how many boxes there are."""

    FIELD: ClassVar[str] = "prior_box_param"
    min_size: tuple[float, ...] = ()
    max_size: tuple[float, ...] = ()
    aspect_ratio: tuple[float, ...] = ()
    flip: bool = True

    @property
    def boxes(self) -> int:
        """The boxes at each place. A ratio that is given twice, or is 1, counts once."""
        ratios = [1.0]
        for ratio in self.aspect_ratio:
            if all(abs(ratio - other) >= 1e-6 for other in ratios):
                ratios += [ratio, 1 / ratio] if self.flip else [ratio]
        return len(ratios) * len(self.min_size) + len(self.max_size)


@dataclass(frozen=True, kw_only=True)
class Interp(Params):
    """Bilinear, corners on corners. DeepLab, PSPNet: interp_layer.cpp.

    The size is given by zoom_factor, shrink_factor, both (shrunk first), height and width, or the second bottom.
    None: not given. zoom_rule, which no file has: "corners" for DeepLab's (size - 1) * zoom + 1, "times" for
    size * zoom.
    """

    FIELD: ClassVar[str] = "interp_param"
    height: int | None = None
    width: int | None = None
    zoom_factor: int | None = None
    shrink_factor: int | None = None
    pad_beg: int = 0
    pad_end: int = 0
    interp_type: str = "bilinear"
    zoom_rule: str = "corners"


@dataclass(frozen=True, kw_only=True)
class Upsample(Params):
    """With one bottom: repeats each value scale × scale times (darknet2caffe, MobileNet-YOLO; the default scale is 1).

    With two bottoms: puts each value where the pooling's mask says, zeros elsewhere (SegNet, ENet; the default is 2).
    """

    FIELD: ClassVar[str] = "upsample_param"
    scale: int | None = None
    scale_h: int | None = None
    scale_w: int | None = None
    pad_out_h: bool = False
    pad_out_w: bool = False
    upsample_h: int | None = None
    upsample_w: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reorg(Params):
    """Space to channels by `stride`, in darknet's order; `reverse` goes back. MobileNet-YOLO: reorg_layer.hpp."""

    FIELD: ClassVar[str] = "reorg_param"
    stride: int
    reverse: bool = False


@dataclass(frozen=True, kw_only=True)
class ShuffleChannel(Params):
    """Channels as a group × rest matrix, transposed. ShuffleNet: shuffle_channel_layer.cpp."""

    FIELD: ClassVar[str] = "shuffle_channel_param"
    group: int = 1


@dataclass(frozen=True, kw_only=True)
class CropCenter(Params):
    """Cuts crop_size[i] values off both ends of axis i. waifu2x: crop_center_layer.cpp."""

    FIELD: ClassVar[str] = "crop_center_param"
    crop_size: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Axpy(Params):
    """a · x + y, with one number a for each channel. SENet: axpy_layer.cpp."""
