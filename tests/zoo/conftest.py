"""A small zoo: networks with random weights, and a manifest of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepmerge.cli.zoo_options import Converter
from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.zoo.manifest import Manifest, read_manifest
from tests.helpers import conv, inputs, layer, network, relu


def write_model(folder: Path, name: str, width: int = 4) -> tuple[Path, Path]:
    """A small network that has something to fold, as NAME.prototxt and NAME.caffemodel."""
    text = (
        inputs((1, 3, 8, 6))
        + conv("conv1", "data", width, "kernel_size: 3 pad: 1")
        + layer("bn1", "BatchNorm", "conv1")
        + relu("bn1")
        + layer("pool", "Pooling", "bn1", "pool: MAX kernel_size: 2 stride: 2")
        + layer("fc", "InnerProduct", "pool", "num_output: 5")
    )
    folder.mkdir(parents=True, exist_ok=True)
    graph = network(folder, text, seed=width)
    pair = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    (folder / "net.prototxt").rename(pair[0])
    write_caffemodel(graph, pair[1])
    return pair


@pytest.fixture
def converter():
    """`deepmerge convert`, as the command hands it to a zoo."""
    return Converter()


@pytest.fixture
def manifest(tmp_path, converter) -> Callable[..., Manifest]:
    """A manifest's text → Manifest. It is zoo.toml in the test's folder."""

    def read(text: str) -> Manifest:
        (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
        return read_manifest(tmp_path / "zoo.toml", converter)

    return read


@pytest.fixture
def three(tmp_path) -> Path:
    """A folder with zoo.toml and the models a, b and c."""
    lines = ["version = 1", "[defaults]", "exact = true"]
    for width, name in enumerate("abc", 3):
        write_model(tmp_path / "models", name, width)
        lines += ["[[model]]", f'name = "{name}"', f'prototxt = "models/{name}.prototxt"']
    (tmp_path / "zoo.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def served(tmp_path):
    """The test's folder on a server of this machine."""
    pytest.importorskip("aiohttp")
    pytest.importorskip("fsspec")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def trees(folder: Path, leave: tuple[str, ...] = ("run.json", "index.jsonl", "index.html")) -> dict[str, bytes]:
    """Every file in a folder by its path, but those in which times are."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in leave)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
