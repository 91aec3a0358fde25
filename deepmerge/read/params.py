"""Layer messages → typed parameters (graph/params.py).

Most types read field by field, by the schema; the functions below are the exceptions, where Caffe
has several spellings for one thing.
"""

from __future__ import annotations

import dataclasses

from deepmerge import schema
from deepmerge.graph import params as typed
from deepmerge.graph.tree import Message
from deepmerge.read.scalars import Reader


def read_params(type_name: str, layer: Message, file, where: str) -> typed.Params | None:
    """The typed parameters of a layer, or None where deepmerge does not know the type."""
    cls = typed.TYPES.get(type_name)
    if cls is None:
        return None
    if not cls.FIELD:
        return cls()
    known = schema.fields("LayerParameter").get(cls.FIELD)
    if known is None:  # a fork's message that our schema lacks: defaults, where there are enough
        return None
    reader = Reader(layer.message(cls.FIELD) or Message([], layer.line, layer.column), known.type_name, file, f"{where}, {cls.FIELD}")
    return cls(**_EXCEPTIONS.get(cls, _fields)(cls, reader, layer))


def _fields(cls: type[typed.Params], reader: Reader, _layer: Message) -> dict:
    """Each field of the dataclass from the message's field of the same name."""
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


def _axis(cls, reader: Reader, layer: Message) -> dict:
    """Concat and Slice: the old concat_dim / slice_dim win (Caffe: concat_layer.cpp, slice_layer.cpp)."""
    values = _fields(cls, reader, layer)
    old = "concat_dim" if cls is typed.Concat else "slice_dim"
    if reader.has(old):
        if reader.has("axis"):
            raise reader.error(f"gives both 'axis' and {old!r}; keep 'axis'")
        values["axis"] = reader.one(old)
    return values


def _pair(reader: Reader, both: str, stem: str, default: int | None) -> tuple[int, int]:
    """(height, width) of one property, from `both` or `stem_h` and `stem_w`; a conflict is an error."""
    single, split = reader.all(both), [reader.has(f"{stem}_h"), reader.has(f"{stem}_w")]
    if any(split):
        if single:
            raise reader.error(f"gives both {both!r} and '{stem}_h'/'{stem}_w'; keep one spelling")
        if not all(split):
            missing = f"{stem}_w" if split[0] else f"{stem}_h"
            if default is None:
                raise reader.error(f"{missing!r} is missing beside the other one of '{stem}_h' and '{stem}_w'")
        return tuple(reader.one(f"{stem}_{a}") if reader.has(f"{stem}_{a}") else default for a in "hw")
    if not single:
        if default is None:
            reader.required(both)
        return default, default
    return single[0], single[-1]


def _window(reader: Reader) -> dict:
    values = {}
    for stem, both, default in (("kernel", "kernel_size", None), ("stride", "stride", 1), ("pad", "pad", 0)):
        values[f"{stem}_h"], values[f"{stem}_w"] = _pair(reader, both, stem, default)
    for name in ("kernel_h", "kernel_w", "stride_h", "stride_w"):
        if values[name] < 1:
            raise reader.error(f"{name.rsplit('_', 1)[0]} must be 1 or more, found {values[name]}")
    return values


def _convolution(cls, reader: Reader, _layer: Message) -> dict:
    values = _window(reader)
    dilation = reader.all("dilation") or [1]
    values |= {"dilation_h": dilation[0], "dilation_w": dilation[-1], "axis": reader.one("axis")}
    if min(dilation) < 1:
        raise reader.error(f"dilation must be 1 or more, found {min(dilation)}")
    names = {"kernel_nd": "kernel_size", "stride_nd": "stride", "pad_nd": "pad", "dilation_nd": "dilation"}
    if any(len(reader.all(name)) > 2 for name in names.values()):
        values |= {key: tuple(reader.all(name)) for key, name in names.items()}
    if cls is not typed.Im2col:
        values |= {"num_output": reader.required("num_output"), "group": reader.one("group"), "bias_term": reader.one("bias_term")}
        for name in ("num_output", "group"):
            if values[name] < 1:
                raise reader.error(f"{name!r} must be 1 or more, found {values[name]}")
    return values


def _pooling(_cls, reader: Reader, _layer: Message) -> dict:
    """`round_mode: FLOOR` and `ceil_mode: false` are forks' ways to say that sizes round down."""
    whole = reader.one("global_pooling")
    if whole and any(reader.has(n) for n in ("kernel_size", "kernel_h", "kernel_w")):
        raise reader.error("gives a kernel and global_pooling; keep one of them")
    values = {"stride_h": 1, "stride_w": 1} if whole else _window(reader)
    if whole:
        for stem in ("stride", "pad"):
            values[f"{stem}_h"], values[f"{stem}_w"] = _pair(reader, stem, stem, 1 if stem == "stride" else 0)
    ceil_mode = reader.message.value("ceil_mode")
    floor = (ceil_mode is not None and str(ceil_mode).lower() in ("false", "0")) or reader.one("round_mode") == "FLOOR"
    return values | {"pool": reader.one("pool"), "global_pooling": whole, "ceil": not floor}


def _shapes(_cls, reader: Reader, _layer: Message) -> dict:
    return {"shape": tuple(shape_of(message, reader, "shape") for message in reader.all("shape"))}


def _dummy_data(cls, reader: Reader, layer: Message) -> dict:
    if reader.has("shape"):
        return _shapes(cls, reader, layer)
    dims = [reader.all(name) for name in ("num", "channels", "height", "width")]
    return {"shape": tuple(zip(*dims, strict=False))}


def _single_shape(_cls, reader: Reader, _layer: Message) -> dict:
    message = reader.one("shape")
    return {"shape": shape_of(message, reader, "shape") if message is not None else ()}


def _recurrent(_cls, reader: Reader, _layer: Message) -> dict:
    return {"num_output": reader.required("num_output"), "expose_hidden": bool(reader.one("expose_hidden"))}


def shape_of(message: Message, reader: Reader, name: str) -> tuple[int, ...]:
    """The dims of a BlobShape message."""
    return tuple(Reader(message, "BlobShape", reader.file, f"{reader.where}, {name}").all("dim"))


_EXCEPTIONS = {
    typed.Concat: _axis,
    typed.Slice: _axis,
    typed.Convolution: _convolution,
    typed.Deconvolution: _convolution,
    typed.Im2col: _convolution,
    typed.Pooling: _pooling,
    typed.Input: _shapes,
    typed.DummyData: _dummy_data,
    typed.Reshape: lambda cls, r, layer: _fields(cls, r, layer) | _single_shape(cls, r, layer),
    typed.Parameter: _single_shape,
    typed.Recurrent: _recurrent,
}
