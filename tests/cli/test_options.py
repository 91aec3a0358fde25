from __future__ import annotations

import pytest

from deepmerge.cli.options import PLANNING
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes


@pytest.fixture
def wishes(run, mini, monkeypatch):
    """The planning options' words → what the library is asked for."""
    asked = []
    import deepmerge.api as api

    original = api.make_plan
    monkeypatch.setattr(api, "make_plan", lambda graph, one, images: asked.append(one) or original(graph, one, images))

    def wishes(*words) -> Wishes:
        done = run("plan", mini[0], "-q", *words)
        assert done.code == 0, done.err
        return asked[-1]

    return wishes


def test_the_defaults_are_the_librarys(wishes):
    assert wishes() == Wishes(options=Options())


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--exact", Wishes(exact=True)),
        ("--exact --width full --steps all", Wishes(exact=True, options=Options(width="full"))),
        ("--steps conv2,inception_3a-3b", Wishes(steps="conv2,inception_3a-3b")),
        ("--absorb pooling,lrn", Wishes(options=Options(absorb=("pooling", "lrn")))),
        ("--absorb=", Wishes(options=Options(absorb=()))),
        ("--keep LRN,conv1/3x3,LRN", Wishes(options=Options(keep=frozenset({"LRN", "conv1/3x3"})))),
        ("--width 0.75", Wishes(options=Options(width=0.75))),
        ("--width full", Wishes(options=Options(width="full"))),
        ("--kernel cover --init xavier", Wishes(options=Options(kernel="cover", init="xavier"))),
        ("--tucker --rank ratio:0.5", Wishes(tucker=True, options=Options(rank="ratio:0.5"))),
        ("--tucker", Wishes(tucker=True)),
    ],
)
def test_what_is_asked_for(wishes, words, expected):
    assert wishes(*words.split()) == expected


@pytest.mark.parametrize("command", ["plan", "convert"])
@pytest.mark.parametrize(
    "words, expected",
    [
        ("--width 0", "'0' is neither a number above 0 and up to 1 nor 'full'"),
        ("--width half", "'half' is neither a number above 0 and up to 1 nor 'full'"),
        ("--width nan", "'nan' is neither"),
        ("--kernel covers", "'covers' is not one of 'keep', 'cover'"),
        ("--init random", "'random' is not one of 'trained', 'xavier'"),
        ("--absorb lrn,branch", "'branch' is not one of lrn, pooling, branches; did you mean 'branches'?"),
        ("--rank energy:2 --tucker", "'energy:2' is none of vbmf, energy:SHARE, ratio:SHARE and macs:SHARE"),
        ("--rank vbmf:1 --tucker", "'vbmf:1' is none of"),
        ("--steps=", "give one word or more"),
        ("--steps=,", "give one word or more"),
        ("--exact --tucker", "--exact and --tucker exclude each other"),
        ("--exact --steps conv1", "--exact takes no approximate steps"),
        ("--rank vbmf", "--rank has no effect without --tucker; add --tucker"),
    ],
)
def test_values_that_will_not_do_are_usage_errors(run, mini, command, words, expected):
    done = run(command, *mini, *words.split(), *(["--dry-run"] if command == "convert" else []))
    assert done.code == 2 and done.out == ""
    assert expected in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--steps inception_9", "--steps: there is no step 'inception_9'; did you mean 'inception_4a'"),
        ("--steps inception_4a-3a", "--steps: 'inception_4a-3a' runs backwards"),
        (
            "--keep conv1/3x4",
            "--keep: the network 'InceptionMini' has no layer or type 'conv1/3x4'; did you mean 'conv1/3x3'",
        ),
    ],
)
def test_names_that_the_network_has_not_are_failures_with_candidates(run, mini, words, expected):
    done = run("plan", mini[0], *words.split())
    assert done.code == 1
    assert done.line.startswith(f"deepmerge: {expected}"), done.line


def test_planning_options_are_all_in_wishes():
    fields = set(Wishes.__dataclass_fields__) | set(Options.__dataclass_fields__)
    assert set(PLANNING) <= fields and fields - set(PLANNING) == {
        "options",
        "costly",
        "ranks",
        "calibration",
        "moments",
    }
