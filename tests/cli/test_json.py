"""What --json prints: a schema for each command, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SCHEMA = Path(__file__).parents[2] / "docs/schemas/results.schema.json"
DATA = "--data npz:six.npz"
COMMANDS = {
    "passes": "",
    "completion": "zsh",
    "doctor": "",
    "plan": "NET WEIGHTS --tucker --target nnie",
    "inspect": "NET",
    "check": "NET --target rknn2",
    "verify": "NET WEIGHTS NET WEIGHTS --layers",
    "eval": f"out --per-class --steps {DATA}",
    "table": f"out --seconds 0.1 {DATA}",
    "profile": "NET --engine ort --repeat 2",
    "bench": f"NET WEIGHTS out --engine ort --repeat 2 --measure time,memory {DATA}",
    "report": "out",
    "recover": f"out -o out2 --stages lsq {DATA}",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), np.uint8)
    np.savez("six.npz", images=pixels, labels=np.arange(6))
    return tmp_path


def fits(name: str, result: dict) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(result, {"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
    assert result.keys() <= schema["$defs"][name]["properties"].keys(), "a key that the schema does not have"


@pytest.mark.parametrize("name", COMMANDS)
def test_results_have_a_version_and_fit_their_schema(run, mini, here, name):
    if "out" in COMMANDS[name].split():
        assert run("convert", *mini, "-o", "out", "--steps", "conv1", "-q").code == 0
    words = [{"NET": mini[0], "WEIGHTS": mini[1]}.get(word, word) for word in COMMANDS[name].split()]
    done = run(name, *words, "--json")
    result = json.loads(done.out)
    assert done.code == 0 and result["version"] == 1 and next(iter(result)) == "version"
    fits(name, result)


def test_finetunes_result_fits_its_schema(run, mini, here):
    pytest.importorskip("torch")
    run("convert", *mini, "-o", "out", "--steps", "conv1", "-q")
    how = ["--data", "npz:six.npz", "--batch-size", 2, "--max-iter", 2, "--test-data", "npz:six.npz"]
    fits("finetune", json.loads(run("finetune", "out", *how, "-o", "out2", "--json").out))


def test_every_command_has_a_schema():
    from tests.cli.listing import commands

    assert set(commands()) | {"error", "paused"} <= set(json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"])


def test_an_error_is_json_as_well(run, mini, here):
    done = run("plan", "none.prototxt", "--json")
    result = json.loads(done.out)
    assert (done.code, done.err) == (1, "deepmerge: none.prototxt: no such file\n")
    kind = {"kind": "read", "message": "none.prototxt: no such file", "file": "none.prototxt"}
    assert result == {"version": 1, "error": {**kind, "layer": None, "remedy": None}}
    fits("error", result)
    (here / "text").write_text("layer {")
    result = json.loads(run("convert", *mini, "-o", "text", "--json").out)["error"]
    assert result["kind"] == "emit" and "--force" in result["message"] + str(result["remedy"])


def test_an_error_names_the_layer_and_the_remedy(run, mini, here):
    done = run("plan", *mini, "--steps", "conv9", "--json")
    error = json.loads(done.out)["error"]
    assert error["kind"] == "plan" and error["remedy"].startswith("did you mean 'conv")
    assert done.err == f"deepmerge: {error['message']}; {error['remedy']}\n"


def test_an_error_names_the_file(run, mini, here):
    """Where the network does not fit together, where the weights are another's, and where OUT exists."""
    wrong = here / "wrong.prototxt"
    for old, new in (("kernel_size: 3", "kernel_size: 99"), ("num_output: 32", "num_output: 33")):
        wrong.write_text(mini[0].read_text().replace(old, new, 1))
        error = json.loads(run("inspect", wrong, mini[1], "--json").out)["error"]
        assert (error["kind"], error["file"], error["layer"]) == ("shape", str(wrong), "conv1/3x3")
    (here / "folder").mkdir()
    error = json.loads(run("convert", *mini, "-o", "folder", "--json").out)["error"]
    assert (error["file"], error["remedy"]) == ("folder", "give another folder, or --force to replace it")


def test_a_wrong_command_line_is_json_as_well(run, mini):
    done = run("plan", *mini, "--nonsense", "--json")
    result = json.loads(done.out)
    assert done.code == 2 and "Error: No such option" in done.err
    assert result["error"]["kind"] == "usage" and "--nonsense" in result["error"]["message"]
    fits("error", result)


def test_a_failure_after_the_result_prints_the_result_alone(run, mini, here):
    run("convert", *mini, "-o", "out", "--steps", "conv1", "-q")
    done = run("verify", *mini, "out/deploy.prototxt", "out/weights.caffemodel", "--json")
    assert done.code == 1 and json.loads(done.out)["ok"] is False and done.err.startswith("deepmerge: output")
