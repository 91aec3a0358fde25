"""BatchNorm layers with a ParamSpec for each of their three blobs. Caffe: UpgradeNetBatchNorm."""

from __future__ import annotations

from deepmerge.graph.tree import Field, Message, Token


def freeze_statistics(net: Message) -> Message:
    """Set lr_mult and decay_mult of means and variances to 0, as the solver does not learn them.

    As in Caffe, only BatchNorm layers with exactly three `param` are changed.
    """
    if not any(_is_old(f) for f in net):
        return net
    fields = [Field(f.name, _frozen(f.value), f.line, f.column) if _is_old(f) else f for f in net]
    return Message(fields, net.line, net.column)


def _is_old(field: Field) -> bool:
    return field.name == "layer" and field.value.value("type") == "BatchNorm" and len(field.value.values("param")) == 3


def _frozen(layer: Message) -> Message:
    return Message(
        [Field("param", _zero(f.value), f.line, f.column) if f.name == "param" else f for f in layer],
        layer.line,
        layer.column,
    )


def _zero(spec: Message) -> Message:
    new = Message(list(spec.fields), spec.line, spec.column)
    for name in ("lr_mult", "decay_mult"):
        new.set(name, Token("0"))
    return new
