"""V0's padding layers → the `pad` of the layers after them. Caffe: UpgradeV0PaddingLayers."""

from __future__ import annotations

from deepmerge.errors import ReadError
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Field, Message, Token


def remove_padding_layers(net: Message, file) -> Message:
    """Return a V0 network without padding layers: a layer that reads one reads its bottom, and pads as it did.

    ReadError for an unknown blob, for a padding layer without exactly one bottom and one top, and for one that is read
    by anything except a conv or pool layer with one bottom.
    """
    maker: dict[str, Message | None] = {str(f.value): None for f in net if f.name == "input"}
    fields: list[Field] = []
    for field in net:
        if field.name != "layers":
            fields.append(field)
            continue
        padding = [_padding(maker, str(b), field.value, file) for b in field.value.values("bottom")]
        made = field.value
        if any(padding):
            _check(made, padding[0], file)
            made = _padded(made, padding[0])
        if _type(field.value) != "padding":
            fields.append(Field("layers", made, field.line, field.column))
        maker |= {str(top): field.value for top in field.value.values("top")}
    return Message(fields, net.line, net.column)


def _inner(shell: Message) -> Message:
    return shell.message("layer") or Message([], shell.line, shell.column)


def _type(shell: Message) -> str:
    return str(_inner(shell).value("type") or "")


def _error(shell: Message, file, text: str) -> ReadError:
    return ReadError(f"{name_of(shell)} {text}", file, shell.line, shell.column)


def _padding(maker: dict[str, Message | None], blob: str, reader: Message, file) -> Message | None:
    """Return the padding layer that makes this blob, or None."""
    if blob not in maker:
        raise _error(reader, file, f"reads {blob!r}, which no layer before it makes")
    source = maker[blob]
    return source if source is not None and _type(source) == "padding" else None


def _check(reader: Message, padding: Message | None, file) -> None:
    if padding is None or len(reader.values("bottom")) != 1:
        raise _error(reader, file, "reads a padding layer and other blobs; give it one bottom")
    if _type(reader) not in ("conv", "pool"):
        raise _error(reader, file, "reads a padding layer; only conv and pool layers can; pad in another way")
    ends = [(len(padding.values(end)), end) for end in ("bottom", "top")]
    wrong = next((end for count, end in ends if count != 1), None)
    if wrong:
        raise _error(padding, file, f"needs one bottom and one top, found {len(padding.values(wrong))} {wrong}s")


def _padded(reader: Message, padding: Message) -> Message:
    """Return the layer with the padding's bottom and pad; its own `pad` is lost, in Caffe too."""
    inner = Message(list(_inner(reader).fields), reader.line, reader.column)
    inner.set("pad", Token(_inner(padding).value("pad") or "0"))
    new = Message(list(reader.fields), reader.line, reader.column)
    new.set("layer", inner)
    new.set("bottom", padding.value("bottom"))
    return new
