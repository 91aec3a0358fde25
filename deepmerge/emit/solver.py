"""solver.prototxt: how to fine-tune, with what the numbers mean written beside them."""

from __future__ import annotations

import difflib

from deepmerge import schema
from deepmerge.emit.prototxt import format_tree, message
from deepmerge.errors import EmitError
from deepmerge.graph.tree import Message, Quoted, Token

STEP_ITERATIONS, FINAL_ITERATIONS = 10_000, 40_000


def solver_text(about: str, new_layers: list[str], iterations: int, batch_size: int, overrides: dict[str, str]) -> str:
    """The solver of a train_val.prototxt in the same folder.

    overrides: fields of Caffe's SolverParameter by name (--solver KEY=VALUE), as text; EmitError for
    one that Caffe does not have.
    """
    tree = message(
        net=Quoted("train_val.prototxt"),
        test_iter=200,
        test_interval=1000,
        test_initialization=False,
        base_lr=0.001,
        lr_policy=Quoted("poly"),
        power=0.5,
        max_iter=iterations,
        momentum=0.9,
        weight_decay=0.0002,
        display=100,
        snapshot=min(iterations, 5000),
        snapshot_prefix=Quoted("snapshot"),
        solver_mode=Token("CPU"),
    )
    for key, value in overrides.items():
        tree.set(key, _override(key, value))
    return "".join(f"# {line}\n" for line in _comments(about, new_layers, tree, batch_size)) + format_tree(tree)


def _comments(about: str, new_layers: list[str], tree: Message, batch_size: int) -> list[str]:
    rate, iterations, power = (tree.value(key) for key in ("base_lr", "max_iter", "power"))
    shown = ", ".join(new_layers[:6]) + (f" and {len(new_layers) - 6} more" if len(new_layers) > 6 else "")
    lines = [about]
    if new_layers:
        lines.append(f"New layers learn at 10 x base_lr (their biases at 20 x), the others at 1 x (2 x): {shown}.")
    if str(tree.value("lr_policy")) == "poly":
        lines.append(f"Step size at iteration i: {rate} * (1 - i / {iterations}) ^ {power}, so it falls from {rate} to 0.")
    lines += [
        f"{iterations} iterations of {batch_size} images; test_iter * the TEST batch size should cover your test images.",
        "On a GPU: caffe train -solver solver.prototxt -gpu 0 (the flag goes before solver_mode).",
    ]
    return lines


def parse_override(text: str) -> tuple[str, str]:
    """(key, value) of KEY=VALUE; EmitError with candidates for a key that Caffe's solver does not have."""
    key, equals, value = text.partition("=")
    key = key.strip()
    known = schema.fields("SolverParameter")
    if not equals or not value:
        raise EmitError(f"--solver {text!r}: give KEY=VALUE, such as base_lr=0.01")
    if key not in known or known[key].kind == "message":
        near = difflib.get_close_matches(key, known, 3, 0.5)
        raise EmitError(f"--solver: Caffe's solver has no field {key!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    _override(key, value)
    return key, value.strip()


def _override(key: str, value: str):
    field = schema.fields("SolverParameter")[key]
    value = value.strip()
    if field.kind in ("string", "bytes"):
        return Quoted(value.strip("\"'"))
    if field.kind == "enum" and value not in schema.enum_values(field.type_name):
        raise EmitError(f"--solver {key}={value}: give one of {', '.join(schema.enum_values(field.type_name))}")
    if field.kind == "bool" and value not in ("true", "false"):
        raise EmitError(f"--solver {key}={value}: give true or false")
    if field.kind in ("int", "uint", "float", "double"):
        try:
            float(value) if field.kind in ("float", "double") else int(value)
        except ValueError:
            raise EmitError(f"--solver {key}={value}: wants a number") from None
    return Token(value)
