"""Shape rules of most layers: (layer, bottom shapes) → top shapes. Caffe: each layer's Reshape."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from deepmerge.graph.shape_errors import Shape, axis_of, misfit, needs_axes, reads

if TYPE_CHECKING:
    from deepmerge.graph.graph import Layer


def same(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Give every top the shape of the first bottom."""
    return [bottoms[0]] * len(layer.tops)


def given(layer: Layer, _bottoms: list[Shape]) -> list[Shape | None]:
    """Input and DummyData: one shape for all tops, or one for each. What is fed shapes an Input without one."""
    shapes = layer.params.shape
    if not shapes and layer.type == "Input":
        return [None] * len(layer.tops)
    if len(shapes) not in (1, len(layer.tops)):
        raise misfit(layer, "shape", f"one, or one for each of the {len(layer.tops)} tops", len(shapes))
    return list(shapes) if len(shapes) > 1 else list(shapes) * len(layer.tops)


def dummy_data(layer: Layer, bottoms: list[Shape]) -> list[Shape | None]:
    """Caffe: dummy_data_layer.cpp. The fillers themselves are in the layer's tree."""
    block, tops = layer.tree.message(layer.params.FIELD), len(layer.tops)
    fillers = 0 if block is None else len(block.values("data_filler"))
    if fillers not in (0, 1, tops):
        raise misfit(layer, "data_filler", f"none, one, or one for each of the {tops} tops", fillers)
    return given(layer, bottoms)


def parameter(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    """Caffe: parameter_layer.hpp."""
    return [layer.params.shape]


def lrn(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: lrn_layer.cpp."""
    needs_axes(layer, bottoms[0])
    if layer.params.local_size % 2 != 1:
        raise misfit(layer, "local_size", "an odd number", layer.params.local_size)
    return [bottoms[0]]


def channels_second(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """BatchNorm and PReLU: axis 1 has the channels."""
    if len(bottoms[0]) < 2:
        raise misfit(layer, reads(layer), "2 axes or more, channels second", bottoms[0])
    return [bottoms[0]]


def scale(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Scale and Bias; a second bottom replaces the weights. Caffe: scale_layer.cpp, bias_layer.cpp."""
    shape = bottoms[0]
    factor = bottoms[1] if len(bottoms) > 1 else scaled_axes(layer, shape)
    axis = axis_of(layer, layer.params.axis, shape) if factor else 0
    if len(bottoms) > 1 and shape[axis : axis + len(factor)] != factor:
        raise misfit(layer, reads(layer, 1), f"the shape of {reads(layer)} {shape} from axis {axis} on", factor)
    return [shape]


def scaled_axes(layer: Layer, shape: Shape) -> Shape:
    """Return the part of the bottom's shape that Scale's and Bias's weights cover."""
    axis, count = axis_of(layer, layer.params.axis, shape), layer.params.num_axes
    if count < -1 or axis + count > len(shape):
        raise misfit(
            layer, "num_axes", f"-1, or 0 to {len(shape) - axis} from axis {axis} of {reads(layer)} {shape}", count
        )
    return shape[axis:] if count == -1 else shape[axis : axis + count]


def inner_product(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: inner_product_layer.cpp."""
    if layer.params.num_output < 1:
        raise misfit(layer, "num_output", "1 or more", layer.params.num_output)
    return [(*bottoms[0][: axis_of(layer, layer.params.axis, bottoms[0])], layer.params.num_output)]


def embed(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: embed_layer.cpp."""
    for name in ("num_output", "input_dim"):
        if getattr(layer.params, name) < 1:
            raise misfit(layer, name, "1 or more", getattr(layer.params, name))
    return [(*bottoms[0], layer.params.num_output)]


def softmax(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: softmax_layer.cpp."""
    axis_of(layer, layer.params.axis, bottoms[0])
    return [bottoms[0]]


def mvn(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: mvn_layer.cpp: the top always has four axes."""
    if len(bottoms[0]) > 4:
        raise misfit(layer, reads(layer), "at most 4 axes", bottoms[0])
    return [bottoms[0] + (1,) * (4 - len(bottoms[0]))]


def _labels(layer: Layer, bottoms: list[Shape]) -> int:
    """Return the axis of the classes; ShapeError unless there is a label for each prediction."""
    scores, labels = bottoms
    axis = axis_of(layer, layer.params.axis, scores)
    wanted = prod(scores) // scores[axis]
    if prod(labels) != wanted:
        raise misfit(
            layer, reads(layer, 1), f"{wanted} labels, one for each prediction in {reads(layer)} {scores}", labels
        )
    return axis


def accuracy(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: accuracy_layer.cpp. A second top has the accuracy of each class."""
    axis = _labels(layer, bottoms)
    return [(), bottoms[0][axis : axis + 1]][: len(layer.tops)]


def softmax_loss(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: softmax_loss_layer.cpp. A second top has the probabilities."""
    _labels(layer, bottoms)
    return [(), bottoms[0]][: len(layer.tops)]


def scalar(layer: Layer, _bottoms: list[Shape]) -> list[Shape]:
    """Give every top of a loss the shape of one number."""
    return [()] * len(layer.tops)


def equal_counts(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """EuclideanLoss and SigmoidCrossEntropyLoss: a target for each value. Caffe: euclidean_loss_layer.cpp."""
    if prod(bottoms[0]) != prod(bottoms[1]):
        raise misfit(layer, reads(layer, 1), f"as many values as {reads(layer)} {bottoms[0]} has", bottoms[1])
    return scalar(layer, bottoms)


def one_label_each(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """HingeLoss and MultinomialLogisticLoss: a label for each image. Caffe: hinge_loss_layer.cpp."""
    if prod(bottoms[1]) != bottoms[0][0]:
        raise misfit(
            layer, reads(layer, 1), f"{bottoms[0][0]} labels, one for each of {reads(layer)} {bottoms[0]}", bottoms[1]
        )
    return scalar(layer, bottoms)


def infogain_loss(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: infogain_loss_layer.cpp. The third bottom is the matrix; a second top has the probabilities."""
    axis = _labels(layer, bottoms[:2])
    size = bottoms[0][axis]
    if len(bottoms) > 2 and prod(bottoms[2]) != size**2:
        raise misfit(layer, reads(layer, 2), f"a matrix of {size} x {size}", bottoms[2])
    return [(), bottoms[0]][: len(layer.tops)]


def contrastive_loss(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """Caffe: contrastive_loss_layer.cpp: two vectors for each pair, and whether they are alike."""
    first, second, similar = bottoms
    if first != second:
        raise misfit(layer, reads(layer, 1), f"{first}, the shape of {reads(layer)}", second)
    if prod(similar) != first[0]:
        raise misfit(layer, reads(layer, 2), f"{first[0]} values, one for each pair", similar)
    return scalar(layer, bottoms)


def recurrent(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """LSTM and RNN: (time, streams, …) → (time, streams, num_output), and the states (1, streams, num_output)."""
    shape, cont, params = bottoms[0], bottoms[1], layer.params
    if len(shape) < 3:
        raise misfit(layer, reads(layer), "3 axes or more: time, streams, values", shape)
    if cont != shape[:2]:
        raise misfit(layer, reads(layer, 1), f"{shape[:2]}, the time and streams of {reads(layer)}", cont)
    state = (1, shape[1], params.num_output)
    states = (2 if layer.type == "LSTM" else 1) * params.expose_hidden
    if not 2 + states <= len(bottoms) <= 3 + states or len(layer.tops) != 1 + states:
        raise misfit(
            layer,
            "bottom and top",
            f"{2 + states} or {3 + states}, and {1 + states}",
            f"{len(bottoms)} and {len(layer.tops)}",
        )
    for index in range(len(bottoms) - states, len(bottoms)):
        if bottoms[index] != state:
            raise misfit(layer, reads(layer, index), f"{state}, a state", bottoms[index])
    if len(bottoms) == 3 + states and bottoms[2][:1] != shape[1:2]:
        raise misfit(layer, reads(layer, 2), f"{shape[1]} streams first", bottoms[2])
    return [(*shape[:2], params.num_output)] + [state] * states


def lstm_unit(layer: Layer, bottoms: list[Shape]) -> list[Shape]:
    """One step of an LSTM: cells (1, streams, D), gates (1, streams, 4 D), cont (1, streams)."""
    cells, gates, cont = bottoms
    if len(cells) != 3 or cells[0] != 1 or gates != (*cells[:2], 4 * cells[2]) or cont != cells[:2]:
        raise misfit(layer, "bottoms", "(1, N, D), (1, N, 4 D) and (1, N)", f"{cells}, {gates} and {cont}")
    return [cells, cells]
