"""A network read from text, with the sizes that its user gives."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_network


@pytest.fixture
def read(tmp_path):
    """read(text, data=(1, 3, 8, 8), …): the graph."""

    def network(text: str, **inputs):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return read_network(path, inputs=inputs)

    return network
