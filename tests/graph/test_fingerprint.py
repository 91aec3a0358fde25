"""A network's digest changes with what the network computes, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.fingerprint import fingerprint, weights_digest
from tests.graph.graph_nets import convolution, data, layer, shape

NET = (
    data(1, 3, 7, 5)
    + convolution("num_output: 4 kernel_size: 3", "conv")
    + layer("DummyData", f"dummy_data_param {{ {shape(1, 4, 5, 3)} data_filler {{ value: 1 }} }}", "dummy", "")
    + layer("Eltwise", "eltwise_param { operation: SUM }", "sum", "conv dummy")
    + layer("Strange", "strange_param { depth: 3 }", "strange", "sum")
)


def test_the_place_in_the_file_does_not_count(read):
    assert fingerprint(read(NET)) == fingerprint(read("# a comment\n\n" + NET.replace(" top", "\n  top")))


@pytest.mark.parametrize(("old", "new"), [("SUM", "MAX"), ("value: 1", "value: 2"), ("depth: 3", "depth: 4")])
def test_parameters_count(read, old, new):
    """Those of a filler, and those of a layer that is not known, as well."""
    assert fingerprint(read(NET)) != fingerprint(read(NET.replace(old, new)))


def test_weights_count(read):
    graph = read(NET)
    before = fingerprint(graph)
    graph.layer("conv").weights = [np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)]
    assert fingerprint(graph) != before


def test_for_a_digest_of_the_weights_nothing_else_counts(read):
    graphs = [read(NET), read(NET.replace("SUM", "MAX")), read(NET)]
    for graph, value in zip(graphs, (1, 1, 2), strict=True):
        graph.layer("conv").weights = [np.full((4, 3, 3, 3), value, np.float32)]
    one, same, other = map(weights_digest, graphs)
    assert one == same != other
