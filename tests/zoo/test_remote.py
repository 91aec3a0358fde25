"""Models that are at URLs, which the process of each model reads."""

import json

from tests.cli.conftest import run  # noqa: F401  (a fixture)
from tests.zoo.conftest import trees, write_model


def test_models_at_urls_are_converted_as_files_are(tmp_path, served, run):  # noqa: F811
    pair = write_model(tmp_path / "models", "net")
    model = (
        f'version = 1\n[defaults]\nexact = true\n[[model]]\nname = "net"\nprototxt = "{served}/models/net.prototxt"\n'
    )
    (tmp_path / "zoo.toml").write_text(model + "expect.verify = 1e-5\n")
    (tmp_path / "here.toml").write_text(model.replace(served, str(tmp_path)) + "expect.verify = 1e-5\n")
    done = run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert run("zoo", tmp_path / "here.toml", "-o", tmp_path / "here").code == 0
    report = json.loads((tmp_path / "out/net/report.json").read_text())
    assert report["source"]["caffemodel"]["path"] == f"{served}/models/net.caffemodel"
    made, wanted = trees(tmp_path / "out/net"), trees(tmp_path / "here/net")
    assert {name for name in wanted if made[name] != wanted[name]} <= {"report.json", "result.json"}
    assert run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out").err == "1 model done before, 0 left to do\n"
    pair[0].write_text(pair[0].read_text().replace("num_output: 5", "num_output: 55"))
    again = run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out")
    assert again.code == 1 and "net: failed: " in again.err


def test_a_url_that_is_gone_is_that_models_failure(tmp_path, served, run):  # noqa: F811
    write_model(tmp_path / "models", "net")
    text = 'version = 1\n[[model]]\nprototxt = "{0}/models/net.prototxt"\n[[model]]\nprototxt = "{0}/models/none.prototxt"\n'
    (tmp_path / "zoo.toml").write_text(text.format(served))
    done = run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out")
    assert done.code == 1 and f"none: failed: {served}/models/none.prototxt: cannot be read" in done.err
    assert "net: converted" in done.err
    done = run("zoo", tmp_path / "zoo.toml", "--check")
    assert done.out.count(" is not there\n") == 2
