"""Which networks run in batches of any size."""

from __future__ import annotations

import pytest

from deepmerge.errors import GraphError
from deepmerge.graph.batching import declared_batch, require_rows, runs_at_any_batch
from tests.graph.batch_nets import FLAT, net


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (net((1, 3, 4, 4)), True),
        (net((2, 3, 4, 4), (2, 5)), True),
        (net((1, 3, 4, 4), (6, 5)), False),
        (net((5,)), False),
        ('layer { name: "x" type: "Input" top: "x" }', False),  # of no known shape
        (net((2, 6), body=FLAT % (0, -1)), True),
        (net((2, 6), body=FLAT % (-1, 3)), True),  # an image more is two rows more
        (net((2, 6), body=FLAT % (2, 6)), False),
        (net((2, 6), body=FLAT % (3, -1)), False),  # an image more is longer rows
    ],
)
def test_which_networks_run_at_any_batch(network, text, expected):
    assert runs_at_any_batch(network(text)) is expected


@pytest.mark.parametrize(("shapes", "expected"), [([(4, 3, 2, 2)], 4), ([(5,)], 5), ([(2, 3), (6, 5)], 2)])
def test_the_declared_batch(network, shapes, expected):
    assert declared_batch(network(net(*shapes))) == expected


CONSTANT = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 1 dim: 4 } } }'


def test_outputs_have_a_row_for_each_image_or_have_nothing_to_do_with_images(network):
    require_rows(network(net((2, 6), body=FLAT % (0, -1))))
    require_rows(network(net((1, 3, 4, 4)) + CONSTANT))


@pytest.mark.parametrize(
    ("flat", "message"), [((2, 6), "runs only with a batch of 2"), ((1, -1), "output '.*' of network .* does not have")]
)
def test_outputs_that_mix_images_are_refused(network, flat, message):
    with pytest.raises(GraphError, match=message):
        require_rows(network(net((2, 6), body=FLAT % flat)))
