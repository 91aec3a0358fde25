"""V1 layers (`layers { type: CONVOLUTION blobs_lr: 1 }`) → today's. Caffe: UpgradeV1LayerParameter."""

from __future__ import annotations

from deepmerge.formats import schema
from deepmerge.graph import types
from deepmerge.graph.tokens import integer
from deepmerge.graph.tree import Field, Message, Quoted

TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
# Lists of V1 → the field of ParamSpec
_SPECS = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}
# Acronyms in the names of forks' types
_ACRONYMS = frozenset(("BN", "CRF", "LSTM", "PSROI", "RNN", "ROI", "RPN", "SPP"))


def upgrade_v1(net: Message, warnings: list[str]) -> Message:
    """Return the network with each of the `layers` as a `layer`. Fields that V1 does not know (a fork's) stay.

    warnings: gets a line for each type that is not a type of Caffe's V1.
    """
    fields = [Field("layer", _layer(f.value, warnings), f.line, f.column) if f.name == "layers" else f for f in net]
    return Message(fields, net.line, net.column)


def type_name(enum: str) -> str:
    """Return today's name of a V1 type, given by its name or number: CONVOLUTION or 4 → Convolution.

    An unknown name is written as Caffe's types are: a fork's ROI_POOLING → ROIPooling. An unknown number stays one.
    """
    enum = enum_name(enum)
    if enum in TYPES:
        return TYPES[enum]
    known = {name.lower(): name for name in types.TYPES}
    words = enum.split("_")
    camel = "".join(word if word in _ACRONYMS else word.capitalize() for word in words)
    return known.get(camel.lower(), camel)


def enum_name(enum: str) -> str:
    """Return the name of a V1 type that is given by its name or number; the number if it has none."""
    if not enum.isdigit():
        return enum
    numbers = schema.enum_values("V1LayerParameter.LayerType")
    return next((name for name, number in numbers.items() if number == integer(enum)), enum)


def _layer(old: Message, warnings: list[str]) -> Message:
    new = Message([], old.line, old.column)
    specs = _param_specs(old)
    for field in old:
        if field.name == "type":
            new.fields.append(Field("type", _type(field, old, warnings), field.line, field.column))
        elif field.name in _SPECS:  # all of them go where the first one is
            new.fields += specs
            specs = []
        else:
            new.fields.append(field)
    return new


def _type(field: Field, layer: Message, warnings: list[str]) -> Quoted:
    if isinstance(field.value, Quoted):  # of a V0 type that Caffe does not know
        return field.value
    name = type_name(str(field.value))
    if enum_name(str(field.value)) not in TYPES:
        warnings.append(
            f"layer {str(layer.value('name'))!r}: {field.value} is not a V1 type of Caffe's; it is read as {name!r}"
        )
    return Quoted(name)


def _param_specs(layer: Message) -> list[Field]:
    """Return a `param` message for each weight blob that any of the lists has a value for."""
    specs: list[Message] = []
    for name, new_name in _SPECS.items():
        for index, field in enumerate(f for f in layer if f.name == name):
            if index == len(specs):
                specs.append(Message([], field.line, field.column))
            specs[index].fields.append(Field(new_name, field.value, field.line, field.column))
    return [Field("param", spec, spec.line, spec.column) for spec in specs]
