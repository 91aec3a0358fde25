"""The batches that networks can take."""

from __future__ import annotations

import pytest

from deepmerge.errors import GraphError
from deepmerge.measure.batching import Batching, common_batching, fitting_batch
from tests.graph.batch_nets import FLAT, net
from tests.helpers import conv, inputs
from tests.helpers import network as filled


def test_batches(network):
    free, large, fixed = (network(net(s)) for s in ((1, 3, 4, 4), (1, 3, 4000, 4000), (5,)))
    assert common_batching([free, free], False) == Batching(8, False)
    assert common_batching([free, free], True) == Batching(8, False)
    assert common_batching([free, large], True) == Batching(1, False)
    assert common_batching([free, fixed], False) == Batching(5, True)
    with pytest.raises(GraphError, match="only with a batch of 2, another only with 5"):
        common_batching([network(net((2, 6), body=FLAT % (2, 6))), fixed], False)


def test_batches_that_fit_into_memory(tmp_path):
    one = conv("map", "data", 6)
    small, large = (filled(tmp_path, inputs((1, 3, side, side)) + one, seed=None) for side in (8, 700))
    assert fitting_batch([small]) == 64 and fitting_batch([large]) == 15 and fitting_batch([large, large]) == 7
