"""Layer messages → typed parameters (graph/params.py).

Most types are read field by field, by the schema; the functions below are for types with several spellings of a
parameter.
"""

from __future__ import annotations

import dataclasses
from math import inf

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import forks
from deepmerge.formats.read.scalars import Reader
from deepmerge.graph import params as typed
from deepmerge.graph.params_forks import BN, DepthwiseConvolution, ReLU6
from deepmerge.graph.shape_errors import MAX_AXES
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES, UNKNOWN
from deepmerge.text import nearest


def read_params(type_name: str, layer: Message, file, where: str) -> typed.Params | None:
    """Return the typed parameters of a layer, or None if deepmerge does not know them.

    where: the layer's name in errors. ReadError if a parameter is missing, or is given in two spellings. A fork's
    message with an error may be another fork's, so that its parameters are not known: None.
    """
    cls = TYPES.get(type_name, UNKNOWN).params
    if cls is None:
        return None
    loss = _loss(cls, layer, file, where) if issubclass(cls, typed.Loss) else {}
    if not cls.FIELD:
        return cls(**loss)
    fields = schema.fields("LayerParameter")
    if cls.FIELD in forks.MESSAGES:
        return _fork(cls, layer, file, f"{where}, {cls.FIELD}")
    where, block = f"{where}, {cls.FIELD}", layer.message(cls.FIELD)
    if block is None:
        block = Message([], layer.line, layer.column)
        near = nearest(cls.FIELD, (f.name for f in layer if f.name not in fields), 1, 0.8)
        where += f" (misspelt as {near[0]!r}?)" if near else ""
    if type_name == "ConvolutionDepthwise" and "num_output" not in block:  # that layer does not ask for it
        return None
    reader = Reader(block, fields[cls.FIELD].type_name, file, where)
    values = _EXCEPTIONS.get(cls, _fields)(cls, reader)
    return cls(**(forks.depthwise(layer, values) if cls is DepthwiseConvolution else values), **loss)


def _loss(cls: type[typed.Loss], layer: Message, file, where: str) -> dict:
    """Return `loss_param`. `normalize` counts if there is no `normalization`. Caffe: softmax_loss_layer.cpp."""
    block = layer.message("loss_param") or Message([], layer.line, layer.column)
    reader = Reader(block, "LossParameter", file, f"{where}, loss_param")
    values = {"ignore_label": reader.one("ignore_label")} if reader.has("ignore_label") else {}
    if reader.has("normalization"):
        values["normalization"] = reader.one("normalization")
    elif reader.has("normalize"):
        values["normalization"] = "VALID" if reader.one("normalize") else "BATCH_SIZE"
    return values


def _fork(cls: type[typed.Params], layer: Message, file, where: str) -> typed.Params | None:
    block = layer.message(cls.FIELD)
    if block is None and cls is ReLU6:
        block = layer.message("relu_param")
    block = block or Message([], layer.line, layer.column)
    if forks.is_another(cls.FIELD, layer, block):
        return None
    try:
        return cls(**_EXCEPTIONS.get(cls, _fields)(cls, Reader(block, forks.MESSAGES[cls.FIELD], file, where)))
    except ReadError:
        return None


def _fields(cls: type[typed.Params], reader: Reader) -> dict:
    """Return each field of the dataclass from the message's field of the same name."""
    values = {}
    for field in dataclasses.fields(cls):
        if field.name not in reader.known:
            continue
        if reader.known[field.name].repeated:
            values[field.name] = tuple(reader.all(field.name))
        elif field.default is dataclasses.MISSING:
            values[field.name] = reader.required(field.name)
        elif reader.has(field.name):
            values[field.name] = reader.one(field.name)
    return values


def _axis(cls, reader: Reader) -> dict:
    """concat_dim and slice_dim are older spellings of axis. Caffe: concat_layer.cpp, slice_layer.cpp."""
    values = _fields(cls, reader)
    old = "concat_dim" if cls is typed.Concat else "slice_dim"
    if reader.has(old):
        if reader.has("axis"):
            raise reader.error(f"gives both 'axis' and {old!r}; keep 'axis'")
        values["axis"] = reader.one(old)
    return values


def _pair(reader: Reader, stem: str, default: int | None, lone: bool = False) -> tuple[int, int]:
    """Return (height, width) of one property, from `stem` or from `stem_h` and `stem_w`; a conflict is an error.

    lone: one of the two may stand without the other, as Caffe has it for a Convolution's pad.
    """
    both = "kernel_size" if stem == "kernel" else stem
    each = f"{stem}_h", f"{stem}_w"
    split = [name for name in each if reader.has(name)]
    if split:
        if reader.has(both):
            raise reader.error(f"gives both {both!r} and {split[0]!r}; keep one spelling")
        if len(split) == 1 and not lone:
            raise reader.error(f"gives {split[0]!r} alone; give {each[0]!r} and {each[1]!r}, or {both!r}")
        return tuple(reader.one(name) if name in split else default for name in each)
    single = reader.all(both)
    if not single and default is None:
        reader.required(both)
    single = single or [default]
    return single[0], single[-1]


def _window(reader: Reader, lone_pad: bool) -> dict:
    values = {}
    for stem, default in (("kernel", None), ("stride", 1), ("pad", 0)):
        pair = _pair(reader, stem, default, lone_pad and stem == "pad")
        if min(pair) < 1 and stem != "pad":
            raise reader.error(f"{stem} must be 1 or more, found {min(pair)}")
        values[f"{stem}_h"], values[f"{stem}_w"] = pair
    return values


def _convolution(cls, reader: Reader) -> dict:
    values = _window(reader, lone_pad=True)
    dilation = forks.holes(reader) or reader.all("dilation") or [1]
    if min(dilation) < 1:
        raise reader.error(f"dilation must be 1 or more, found {min(dilation)}")
    values |= {"dilation_h": dilation[0], "dilation_w": dilation[-1], "axis": reader.one("axis")}
    names = {"kernel_nd": "kernel_size", "stride_nd": "stride", "pad_nd": "pad", "dilation_nd": "dilation"}
    if any(len(reader.all(name)) > 2 for name in names.values()):
        values |= {key: tuple(reader.all(name)) for key, name in names.items()}
    if cls is not typed.Im2col:
        values |= {"num_output": reader.required("num_output")}
        values |= {name: reader.one(name) for name in ("group", "bias_term")}
        for name in ("num_output", "group"):
            if values[name] < 1:
                raise reader.error(f"{name!r} must be 1 or more, found {values[name]}")
    return values


def _batch_norm(cls, reader: Reader) -> dict:
    return _fields(cls, reader) | {"scale_bias": forks.has_scale_bias(reader)}


def _dropout(cls, reader: Reader) -> dict:
    return _fields(cls, reader) | forks.dropout(reader)


def _logarithmic(cls, reader: Reader) -> dict:
    """Exp and Log; a base of -1 means e. Caffe: exp_layer.cpp, log_layer.cpp, which divides by the base's logarithm."""
    base, log = reader.one("base"), cls is typed.Log
    if base != -1 and (not 0 < base < inf or (log and base == 1)):
        wanted = "finite, above 0 and not 1" if log else "finite and above 0"
        raise reader.error(f"'base' must be {wanted}, or -1 for e, found {base:g}")
    return _fields(cls, reader)


def _pooling(_cls, reader: Reader) -> dict:
    """Return Pooling's fields. `round_mode: FLOOR` and forks' `ceil_mode: false` mean that sizes round down."""
    whole = reader.one("global_pooling")
    if whole:
        kernel = next((n for n in ("kernel_size", "kernel_h", "kernel_w") if reader.has(n)), None)
        if kernel:
            raise reader.error(f"gives {kernel!r} and global_pooling; keep one of them")
        pairs = {"stride": _pair(reader, "stride", 1), "pad": _pair(reader, "pad", 0)}
        values = {f"{stem}_{axis}": size for stem, pair in pairs.items() for axis, size in zip("hw", pair, strict=True)}
    else:
        values = _window(reader, lone_pad=False)
    floor = reader.one("round_mode") == "FLOOR" or str(reader.message.value("ceil_mode")).lower() in ("false", "f", "0")
    return values | {"pool": reader.one("pool"), "global_pooling": whole, "ceil": not floor}


def _shapes(_cls, reader: Reader) -> dict:
    return {"shape": tuple(_dims(message, reader) for message in reader.all("shape"))}


def _dummy_data(cls, reader: Reader) -> dict:
    """`shape`, or num, channels, height and width, each once or once per top. Caffe: dummy_data_layer.cpp."""
    if reader.has("shape"):
        return _shapes(cls, reader)
    dims = [reader.all(name) for name in ("num", "channels", "height", "width")]
    count = max(map(len, dims))
    if any(len(sizes) not in (1, count) for sizes in dims) and count:
        raise reader.error("gives num, channels, height and width unequally often; give each once per top, or a shape")
    return {"shape": tuple(zip(*(sizes * count if len(sizes) == 1 else sizes for sizes in dims), strict=True))}


def _single_shape(_cls, reader: Reader) -> dict:
    message = reader.one("shape")
    return {"shape": _dims(message, reader) if message is not None else ()}


def _reshape(cls, reader: Reader) -> dict:
    return _fields(cls, reader) | _single_shape(cls, reader)


def _recurrent(_cls, reader: Reader) -> dict:
    return {"num_output": reader.required("num_output"), "expose_hidden": reader.one("expose_hidden")}


def _dims(message: Message, reader: Reader) -> tuple[int, ...]:
    dims = tuple(Reader(message, "BlobShape", reader.file, f"{reader.where}, shape").all("dim"))
    if len(dims) > MAX_AXES:
        raise reader.error(f"shape has {len(dims)} axes; Caffe takes {MAX_AXES} at most", message)
    return dims


_EXCEPTIONS = {
    BN: forks.bn,
    DepthwiseConvolution: _convolution,
    typed.BatchNorm: _batch_norm,
    typed.Concat: _axis,
    typed.Slice: _axis,
    typed.Convolution: _convolution,
    typed.Deconvolution: _convolution,
    typed.Exp: _logarithmic,
    typed.Log: _logarithmic,
    typed.Dropout: _dropout,
    typed.Im2col: _convolution,
    typed.Pooling: _pooling,
    typed.Input: _shapes,
    typed.DummyData: _dummy_data,
    typed.Reshape: _reshape,
    typed.Parameter: _single_shape,
    typed.Recurrent: _recurrent,
}
