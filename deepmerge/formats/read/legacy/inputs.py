"""`input` with `input_shape` or `input_dim` → an Input layer. Caffe: UpgradeNetInput."""

from __future__ import annotations

from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.text import input_option


def upgrade_inputs(net: Message, file, warnings: list[str]) -> Message:
    """Return the network with its inputs as a first layer called `input`.

    An input without a shape, as in caffemodels turned into text, is dropped unless a layer needs it.
    warnings: gets a line for shapes that belong to no input, and for such an input.
    ReadError (file:line:column) if there are fewer shapes than inputs.
    """
    names = [f for f in net if f.name == "input"]
    if not names:
        return net
    rest = [f for f in net if f.name not in ("input", "input_shape", "input_dim")]
    if len(names) + len(rest) == len(net.fields) and not _needed(names, rest):
        warnings.append(
            f"left out, as it has no shape and no layer needs it: input {', '.join(map(repr, _texts(names)))}"
        )
        return Message(rest, net.line, net.column)
    at = names[0]
    layer = Message([], at.line, at.column)
    layer.add("name", Quoted("input"))
    layer.add("type", Quoted("Input"))
    layer.fields += [Field("top", f.value, f.line, f.column) for f in names]
    layer.add("input_param", Message(_shapes(net, names, file, warnings), at.line, at.column))
    first = next(i for i, f in enumerate(rest) if f.name == "layer")
    return Message(rest[:first] + [Field("layer", layer, at.line, at.column)] + rest[first:], net.line, net.column)


def _texts(fields: list[Field]) -> list[str]:
    return [str(f.value) for f in fields]


def _needed(names: list[Field], rest: list[Field]) -> bool:
    """Return whether a layer reads one of the inputs before any layer makes a blob of that name."""
    wanted = set(_texts(names))
    for layer in (f.value for f in rest if f.name == "layer"):
        if wanted & set(layer.values("bottom")):
            return True
        wanted -= set(layer.values("top"))
    return False


def _shapes(net: Message, names: list[Field], file, warnings: list[str]) -> list[Field]:
    """Return a `shape` for each input; if both spellings are given, input_shape wins, as in Caffe."""
    shapes = [Field("shape", f.value, f.line, f.column) for f in net if f.name == "input_shape"]
    dims = [Field("dim", f.value, f.line, f.column) for f in net if f.name == "input_dim"]
    count, at = len(names), names[0]
    if shapes:
        if len(shapes) < count:
            text = f"{count} `input` but {len(shapes)} `input_shape`; give one each"
            raise ReadError(text, file, at.line, at.column)
        if len(shapes) > count:
            warnings.append(
                f"{len(shapes)} `input_shape` for {count} `input`; Caffe takes the first, and so does deepmerge"
            )
        return shapes[:count]
    if len(dims) < 4 * count:
        wanted = f"{4 * count} `input_dim`, or one `input_shape` each"
        text = f"{count} `input` need {wanted}, found {len(dims)} `input_dim`"
        options = " ".join(input_option(name, (1, 3, None, None)) for name in _texts(names))
        raise ReadError(text, file, at.line, at.column, remedy=f"give its size: {options}")
    if len(dims) > 4 * count:
        warnings.append(f"{len(dims)} `input_dim` for {count} `input`; Caffe takes the first, and so does deepmerge")
    return [Field("shape", Message(dims[i : i + 4], dims[i].line, dims[i].column)) for i in range(0, 4 * count, 4)]
