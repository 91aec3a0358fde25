from __future__ import annotations

from deepmerge.page.script_data import GOING, NEW, drawn, layouts, marks


def marked(stages, number: int, mark: int) -> set[str]:
    return {fact.name for fact, found in zip(stages[number].facts, marks(stages, number), strict=True) if found & mark}


def test_what_goes_is_marked_before_and_what_is_new_after(mini_stages):
    """conv1 takes up the pooling and the LRN after it."""
    entry = mini_stages[2].entries[0]
    assert marked(mini_stages, 1, GOING) == set(entry["merged"]) and marked(mini_stages, 2, NEW) == set(entry["into"])
    assert marked(mini_stages, 0, NEW) == set() and marked(mini_stages, len(mini_stages) - 1, GOING) == set()
    for number, stage in enumerate(mini_stages[1:], 1):
        gone = {fact.name for fact in mini_stages[number - 1].facts} - {fact.name for fact in stage.facts}
        new = {fact.name for fact in stage.facts} - {fact.name for fact in mini_stages[number - 1].facts}
        assert gone <= marked(mini_stages, number - 1, GOING) and new <= marked(mini_stages, number, NEW)


def test_a_layer_whose_shape_alone_changes_is_not_marked(mini_stages):
    tops = [{fact.name: fact.tops for fact in stage.facts} for stage in mini_stages[1:3]]
    moved = {name for name in tops[0].keys() & tops[1].keys() if tops[0][name] != tops[1][name]}
    assert "conv1/relu_3x3" in moved and "conv1/relu_3x3" not in marked(mini_stages, 2, NEW)


def test_the_scripts_data(mini_stages):
    data = drawn(mini_stages, layouts(mini_stages))
    assert [stage["title"] for stage in data["stages"]] == [stage.title for stage in mini_stages]
    for stage, found in zip(data["stages"], mini_stages, strict=True):
        looks = [data["layers"][node[0]] for node in stage["nodes"]]
        assert [look["name"] for look in looks] == [fact.name for fact in found.facts]
        assert [look["macs"] for look in looks] == [fact.macs for fact in found.facts]
        edges = {(looks[a]["name"], looks[b]["name"]) for a, b, *_ in stage["edges"]}
        names = [fact.name for fact in found.facts]
        assert edges == {(names[s], names[t]) for t, sources in enumerate(found.reads) for s in sources}
    ids = {look["id"]: look["name"] for look in data["layers"]}
    assert len(ids) == len(set(ids.values())), "one name, one id"


def test_boxes_say_what_a_layer_does_without_repeating_its_part(mini_stages):
    data = drawn(mini_stages, layouts(mini_stages))
    lines = {look["name"]: look["lines"] for look in data["layers"]}
    assert lines["inception_3a/3x3_reduce"][0] == "3x3_reduce" and lines["inception_3a/output"] == ["output"]
    assert all(len(line) <= 26 for found in lines.values() for line in found)
