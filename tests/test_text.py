from __future__ import annotations

import pytest

from deepmerge.text import (
    count,
    did_you_mean,
    figures,
    flat,
    input_option,
    listed,
    megabytes,
    millions,
    milliseconds,
    nearest,
    scaled,
    share_left,
    size,
    times,
    times_as_fast,
    unused,
)


def test_the_nearest_words_are_named():
    assert did_you_mean("conv", ["conv1", "fc6", "conv2"]) == "did you mean 'conv2' or 'conv1'?"


def test_without_a_near_word_all_are_named():
    assert did_you_mean("xyz", ["conv1", "fc6"]) == "there are conv1, fc6"
    assert did_you_mean("xyz", ["conv1"]) == "there is only conv1"
    assert did_you_mean("xyz", []) == "there are none"


def test_a_long_list_is_cut():
    assert did_you_mean("?", [f"l{i}" for i in range(100)]).endswith("l10, l11 and 88 more")


def test_names_are_listed_up_to_a_number():
    assert [listed("abcdef"[:n], 4) for n in (0, 1, 4, 6)] == ["", "a", "a, b, c, d", "a, b, c, d and 2 more"]


def test_an_option_is_one_word_for_a_shell():
    assert input_option("a b\n") == r"--input 'a b\n'=N,…"
    assert input_option("data", (1, 3, None, None)) == "--input data=1,3,H,W"


def test_the_first_number_of_an_unused_name():
    assert [unused("a", taken, first=1) for taken in ([], ["a"], ["a", "a_1"])] == ["a", "a_1", "a_2"]
    assert [unused("a", taken) for taken in ([], ["a"], ["a", "a_2"])] == ["a", "a_2", "a_3"]


def test_several_lines_in_one():
    assert flat(ValueError(" no\n\tshape ")) == "no shape"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (17, "17"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_900, "1.00 M"),
        (1_582_671_872, "1.58 G"),
        (5e12, "5,000 G"),
    ],
)
def test_three_figures_with_a_prefix(number, text):
    assert scaled(number) == text


@pytest.mark.parametrize("number, text", [(0, "0 B"), (512, "512 B"), (4096, "4.10 kB"), (27_300_000, "27.3 MB")])
def test_size(number, text):
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.000"),
        (4.5e-7, "0.000"),
        (0.0000123, "0.012"),
        (0.00012345, "0.123"),
        (0.0012345, "1.23"),
        (0.0123, "12.3"),
        (0.12345, "123"),
        (12.3456, "12,346"),
    ],
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_counts_shares_and_ratios():
    assert (count(1, "step"), count(1200, "step")) == ("1 step", "1,200 steps")
    found = [share_left(*pair) for pair in ((4, 1), (0, 1), (None, 1), (4, None), (4, 0))]
    assert found == ["25.0%", "–", "–", "–", "0.0%"]
    assert (times(3.9), times(12.34)) == ("3.90×", "12.3×")
    assert times_as_fast(None) == "1"
    assert times_as_fast({"value": 0.25, "low": 0.2, "high": 0.5}) == "4.00 (2.00–5.00)"


@pytest.mark.parametrize(
    ("name", "found"),
    [("kernal_size", ["kernel_size"]), ("Kernel_Size", ["kernel_size"]), ("strid", ["stride"]), ("foo", [])],
)
def test_a_misspelt_field_is_recognised(name, found):
    assert nearest(name, ["pad", "kernel_size", "stride"], 1, 0.8) == found


def test_nearest():
    assert nearest("CONV", ["conv1", "fc6"]) == ["conv1"]
    assert nearest("conv", [f"conv{i}" for i in range(9)], most=2) == ["conv8", "conv7"]
    assert nearest("conv", ["conv1"], cutoff=0.95) == []
    assert nearest("c" * 101, ["c" * 101]) == []


def test_the_form_of_an_unused_name():
    assert unused("a", {"a"}, form="{}-{}") == "a-2"


def test_fixed_units():
    assert figures(1.584) == "1.58" and figures(27.31) == "27.3" and figures(1203.4) == "1,203"
    assert millions(1_582_671_872) == "1,582.67 M"
    assert megabytes(27_994_208) == "27.99 MB" and megabytes(None) == "–"
