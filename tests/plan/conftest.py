"""Networks whose plans are looked at: structure only where weights make no difference."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_network
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan
from tests.helpers import network


@pytest.fixture
def read(tmp_path):
    """A prototxt's text (helpers.py) → Graph, with random weights (none where the seed is None)."""
    return lambda text, seed=5: network(tmp_path, text, seed)


@pytest.fixture(scope="session")
def model(models):
    """A model's name → a graph of its own, without weights (inception_mini: with its trained ones)."""
    known = {}

    def model(name: str):
        if name not in known:
            folder = models / name
            trained = folder / f"{name}.caffemodel"
            known[name] = (
                read_network(folder / f"{name}.prototxt", trained)
                if trained.exists()
                else read_network(folder / "deploy.prototxt")
            )
        return known[name].copy()

    return model


@pytest.fixture(scope="session")
def plan_of():
    """(graph, what the command line would ask for …) → Plan."""

    def plan_of(graph, exact=False, steps="all", tucker=False, **options):
        return make_plan(graph, Wishes(exact, steps, tucker, Options(**options)))

    return plan_of
