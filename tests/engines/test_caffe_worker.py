"""The worker runs under other people's interpreters: it must stay what those can read."""

from __future__ import annotations

import ast

from deepmerge.engines.find_caffe import WORKER

ALLOWED = {"os", "sys", "importlib", "json", "platform", "signal", "struct", "time", "numpy", "caffe"}


def test_the_worker_is_python_3_6():
    ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_worker_imports_nothing_of_ours():
    imported = set()
    for node in ast.walk(ast.parse(WORKER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= ALLOWED
