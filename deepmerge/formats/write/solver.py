"""solver.prototxt: how to fine-tune, with comments that explain the numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.graph.tree import Message, Quoted, Token
from deepmerge.names import for_comment
from deepmerge.text import did_you_mean, listed

STEP_ITERATIONS, FINAL_ITERATIONS = 10_000, 40_000
_FLOAT = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_NUMBERS = {"int": r"-?\d+", "uint": r"\d+", "float": _FLOAT, "double": _FLOAT}


@dataclass(frozen=True)
class Training:
    """What a solver depends on.

    batch_size: the TRAIN data layer's; 0 if unknown. tests: whether there are TEST data.
    folded_batchnorm: whether the network has lost a BatchNorm, which limited its gradients.
    """

    iterations: int
    batch_size: int = 0
    tests: bool = True
    folded_batchnorm: bool = False


def solver_text(about: str, new_layers: list[str], training: Training, overrides: dict[str, str]) -> str:
    """Return the solver of a train_val.prototxt in the same folder.

    overrides: fields of Caffe's SolverParameter by name, as text (--solver KEY=VALUE). EmitError for unknown ones.
    """
    tests = training.tests
    tree = message(
        net=Quoted("train_val.prototxt"),
        test_iter=200 if tests else None,
        test_interval=1000 if tests else None,
        test_initialization=False if tests else None,
        base_lr=0.001,
        lr_policy=Quoted("poly"),
        power=0.5,
        max_iter=training.iterations,
        momentum=0.9,
        weight_decay=0.0002,
        clip_gradients=1.0 if training.folded_batchnorm else None,
        display=100,
        snapshot=min(training.iterations, 5000),
        snapshot_prefix=Quoted("snapshot"),
        solver_mode=Token("CPU"),
    )
    for key, value in overrides.items():
        tree.set(key, *_override(key, value))
    comments = _comments(about, new_layers, training, tree)
    return "".join(f"# {for_comment(line)}\n" for line in comments) + format_tree(tree)


def _comments(about: str, new_layers: list[str], training: Training, tree: Message) -> list[str]:
    rate, iterations, power = (tree.value(key) for key in ("base_lr", "max_iter", "power"))
    lines = [about]
    if new_layers:
        names = listed(new_layers, 6)
        lines.append(f"New layers learn at 10 x base_lr (their biases at 20 x), the others at 1 x (2 x): {names}.")
    if str(tree.value("lr_policy")) == "poly":
        lines.append(
            f"Step size at iteration i: {rate} * (1 - i / {iterations}) ^ {power}, so it falls from {rate} to 0."
        )
    if training.folded_batchnorm and float(tree.value("clip_gradients")) > 0:
        why = "without the BatchNorm that the network had they would run away"
        lines.append(f"Gradients are clipped at a norm of {tree.value('clip_gradients')}: {why}.")
    images = f" of {training.batch_size} images" if training.batch_size else ""
    covers = "; test_iter * the TEST batch size should cover your test images" if "test_iter" in tree else ""
    lines.append(f"{iterations} iterations{images}{covers}.")
    lines.append("On a GPU: caffe train -solver solver.prototxt -gpu 0 (the flag goes before solver_mode).")
    return lines


def snapshots(overrides: dict[str, str]) -> tuple[str, str]:
    """Return (prefix, ending) of the snapshots that such a solver writes: PREFIX_iter_N ENDING."""
    prefix = str(_override("snapshot_prefix", overrides.get("snapshot_prefix", "snapshot"))[0])
    return prefix, ".caffemodel.h5" if overrides.get("snapshot_format") == "HDF5" else ".caffemodel"


def parse_override(text: str) -> tuple[str, str]:
    """Return (key, value) of KEY=VALUE. EmitError, with similar keys, for one that Caffe's solver does not have."""
    key, equals, value = text.partition("=")
    key = key.strip()
    known = [name for name, field in schema.fields("SolverParameter").items() if field.kind != "message"]
    if not equals or not value:
        raise EmitError(f"--solver {text!r}: give KEY=VALUE, such as base_lr=0.01")
    if key not in known:
        raise EmitError(f"--solver: Caffe's solver has no field {key!r}", remedy=did_you_mean(key, known))
    _override(key, value)
    return key, value.strip()


def _override(key: str, value: str) -> list[Quoted | Token]:
    """Return the field's values: several, separated by commas, if the field is repeated (stepvalue=1000,2000)."""
    field = schema.fields("SolverParameter")[key]
    values = [v.strip() for v in value.split(",")] if field.repeated else [value.strip()]
    return [_value(key, field, v) for v in values]


def _value(key: str, field: schema.Field, value: str) -> Quoted | Token:
    where = f"--solver {key}={value}"
    if key == "snapshot_prefix" and "\n" in value:
        raise EmitError(f"{where}: finetune.mk cannot hold a name with a line break; give another")
    if field.kind in ("string", "bytes"):
        return Quoted(value.strip("\"'"))
    if field.kind == "enum" and value not in schema.enum_values(field.type_name):
        raise EmitError(f"{where}: give one of {', '.join(schema.enum_values(field.type_name))}")
    if field.kind == "bool" and value not in ("true", "false"):
        raise EmitError(f"{where}: give true or false")
    if field.kind in _NUMBERS and not re.fullmatch(_NUMBERS[field.kind], value):
        raise EmitError(f"{where}: needs a number" + (" without a fraction" if field.kind in ("int", "uint") else ""))
    return Token(value)
