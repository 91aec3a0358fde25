"""The five trained networks of the test material, in one command that verifies, checks a target and a loss of accuracy."""

import json

import pytest

from tests.cli.conftest import run  # noqa: F401  (a fixture)

MANIFEST = """
version = 1

[defaults]
exact = true
no_steps = true
expect = {{verify = 1e-5, target = "rknn2", max_loss = 0.5, data = "npz:{data}", images = 60}}

[[model]]
prototxt = "{zoo}/*.prototxt"

[[model]]
name = "merged without recovery"
prototxt = "{zoo}/squeezenet.prototxt"
exact = false
expect = {{verify = 1e9, max_loss = 5.0}}

[[model]]
name = "fast"
prototxt = "{zoo}/inception_mini.prototxt"
exact = false
expect = {{verify = 1e9, max_loss = 100.0, speedup = 1.05}}
"""
NETWORKS = ["alexnet", "googlenet", "inception_mini", "resnet50", "squeezenet"]


@pytest.mark.slow
def test_the_trained_networks_are_what_the_manifest_expects(zoo, shared, tmp_path, run):  # noqa: F811
    (tmp_path / "zoo.toml").write_text(MANIFEST.format(zoo=zoo, data=shared / "data/cifar10_test.npz"))
    done = run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out")
    lines = {entry["name"]: entry for entry in map(json.loads, (tmp_path / "out/index.jsonl").read_text().splitlines())}
    assert list(lines) == [*NETWORKS, "merged without recovery", "fast"]
    for name in NETWORKS:
        assert lines[name]["status"] == "converted", lines[name]
        checks = lines[name]["checks"]
        assert checks["verify"] < 1e-4 and abs(checks["max_loss"]) <= 0.5 and checks["target"] is True
    assert lines["fast"]["checks"]["speedup"] > 1.05
    failure = lines["merged without recovery"]["failure"]
    assert failure["kind"] == "check" and failure["message"].startswith("max_loss: it lost ")
    assert "points of top-1 accuracy on 60 images, and 5 are allowed" in failure["message"]
    assert done.code == 1 and done.err.splitlines()[-1].startswith("merged without recovery: failed: max_loss: ")
