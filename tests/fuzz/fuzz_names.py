"""Any bytes as a name: written for each kind of output and read back, it is the same name and nothing else."""

from __future__ import annotations

from tests.fuzz import fuzzing


def target() -> fuzzing.Check:
    import html
    import json

    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib

    from deepmerge import names
    from deepmerge.formats.read.prototxt import parse
    from deepmerge.formats.write.solver import Training, solver_text
    from deepmerge.plan.recipe import Recipe, Step

    usual = parse(solver_text("about", ["layer"], Training(9), {}))

    def check(data: bytes) -> None:
        name = names.decoded(data)
        assert names.encoded(name) == data
        assert names.for_terminal(name).isprintable()
        assert html.unescape(names.for_html(name)) == names.for_terminal(name)
        assert json.loads(names.for_json([name]).encode()) == [name]
        assert parse(f"name: {names.for_prototxt(name)}").value("name") == name
        assert 0 < len(names.for_path(name)) <= names.MAX_PATH and "/" not in names.for_path(name)
        names.for_onnx(name).encode()

        (step,) = tomllib.loads(Recipe(name, steps=(Step(name, (), (name,)),)).to_toml())["step"]
        assert [names.from_toml(text) for text in (step["name"], *step["layers"])] == [name, name]
        solver = parse(solver_text(f"about {name}", [name], Training(9), {}))
        assert [(f.name, f.value) for f in solver] == [(f.name, f.value) for f in usual]

    return check


if __name__ == "__main__":
    fuzzing.main(target)
