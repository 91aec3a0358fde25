"""Who may import whom, and that nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("MNN", "caffe", "cv2", "google.protobuf", "onnx", "onnxruntime", "rich", "scipy", "tensorly", "torch")

REPORT = f"import sys; print('loaded:', *[name for name in {HEAVY} if name in sys.modules])"


@pytest.mark.pitfall("row", 1)
@pytest.mark.parametrize(
    "program",
    [
        "import deepmerge",
        "import deepmerge.errors, deepmerge.formats.schema",
        "from deepmerge.cli import main; main(['--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_loaded_by(program):
    done = subprocess.run([sys.executable, "-c", f"{program}; {REPORT}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_import_rules():
    """setup.cfg's contracts, by import-linter."""
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed; `pip install -e .[test]` does it")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


WITHOUT = """
import sys
for name in ("caffe", "grpc_tools", "caffe.proto", "caffe_pb2"):
    sys.modules[name] = None  # an import of it fails
from deepmerge.cli import main
main(sys.argv[1:])
"""


@pytest.mark.pitfall("row", 1)
def test_a_conversion_needs_neither_caffe_nor_protoc(models, tmp_path):
    mini = models / "inception_mini/inception_mini"
    words = ["convert", f"{mini}.prototxt", f"{mini}.caffemodel", "-o", tmp_path / "out", "--emit", "caffe,onnx", "-q"]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {"deploy.prototxt", "weights.caffemodel", "model.onnx"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def imports_of(file: Path, known: set[str]) -> set[str]:
    """The project's modules that a file imports, in functions too, but not what only a type checker reads."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inner & known or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_bytes()))
    return found & known


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or not."""
    order = TopologicalSorter(graph)
    try:
        order.prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def test_no_module_imports_itself_through_others():
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted((ROOT / "deepmerge").rglob("*.py"))
    }
    graph = {name: imports_of(file, set(files)) for name, file in files.items()}
    graph["deepmerge"] = set()  # the package itself loads its public names when they are first used
    assert circles({"a": {"b"}, "b": {"a"}})
    assert circles(graph) == []
