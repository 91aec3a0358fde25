from __future__ import annotations

from deepmerge.text import did_you_mean, flat, unused


def test_the_nearest_words_are_named():
    assert did_you_mean("conv", ["conv1", "fc6", "conv2"]) == "did you mean 'conv2' or 'conv1'?"


def test_without_a_near_word_all_are_named():
    assert did_you_mean("xyz", ["conv1", "fc6"]) == "there are conv1, fc6"
    assert did_you_mean("xyz", ["conv1"]) == "there is only conv1"
    assert did_you_mean("xyz", []) == "there are none"


def test_a_long_list_is_cut():
    assert did_you_mean("?", [f"l{i}" for i in range(100)]).endswith("l10, l11 and 88 more")


def test_the_first_number_of_an_unused_name():
    assert [unused("a", taken, first=1) for taken in ([], ["a"], ["a", "a_1"])] == ["a", "a_1", "a_2"]
    assert [unused("a", taken) for taken in ([], ["a"], ["a", "a_2"])] == ["a", "a_2", "a_3"]


def test_several_lines_in_one():
    assert flat(ValueError(" no\n\tshape ")) == "no shape"
