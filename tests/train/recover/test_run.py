"""Which stages are undone."""

from __future__ import annotations

import pytest

from deepmerge.train.recover.run import did_harm, lsq_does_harm


@pytest.mark.parametrize(
    ("name", "loss", "agreement", "harm"),
    [
        ("distill", 0.09, 0.934, False),
        (
            "distill",
            0.09,
            0.928,
            False,
        ),  # AlexNet's: 4 of 595 images less, whose standard error is 6, and a smaller loss
        ("distill", 0.09, 0.920, True),
        ("distill", 0.11, 0.928, True),
        ("distill", 0.11, 0.934, False),
        ("refit", 0.09, 0.928, False),
        ("refit", 0.09, 0.920, True),
        ("lsq", 0.09, 0.933, True),
    ],
)
def test_harm_is_fewer_that_agree_but_for_noise_after_a_smaller_loss(name, loss, agreement, harm):
    entry = {"name": name, "loss_before": 0.107, "loss_after": loss, "agreement_after": agreement}
    assert did_harm(entry, 0.934, 595) is harm


@pytest.mark.parametrize(("before", "after", "harm"), [(0.11, 0.10, False), (0.79, 0.10, False), (0.91, 0.87, True)])
def test_lsq_is_undone_only_where_the_network_worked(before, after, harm):
    """The last is GoogLeNet's, recovered and then decomposed."""
    entry = {"name": "lsq", "loss_before": 1.0, "loss_after": 0.1, "agreement_after": after}
    assert did_harm(entry, before, 1000) is harm


@pytest.mark.parametrize(
    ("more", "harm"),
    [
        ({"agreement_before": 0.91}, True),
        ({"agreement_before": 0.11}, False),
        ({}, False),  # undone by its loss, on a network whose agreement said nothing: its second turn may help
        ({"agreement_before": 0.91, "segments_left": 2}, False),
        ({"agreement_before": 0.91, "undone": False}, False),
        ({"agreement_before": 0.91, "name": "front"}, False),
    ],
)
def test_lsq_is_not_tried_again_where_all_of_it_did_harm(more, harm):
    assert lsq_does_harm({"name": "lsq", "undone": True} | more) is harm


@pytest.mark.parametrize(("agreement", "harm"), [(0.933, True), (0.934, False)])
def test_lsq_that_was_cut_short_is_undone_if_fewer_agree(agreement, harm):
    entry = {"name": "lsq", "loss_before": 1.0, "loss_after": 0.1, "agreement_after": agreement, "segments_left": 2}
    assert did_harm(entry, 0.934, 595) is harm
