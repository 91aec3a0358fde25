"""The pipelines in docs/howto/zoo.md: their commands are run, as make, GitHub, GitLab, Slurm and Docker would run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmerge.cli.zoo_options import Converter
from deepmerge.zoo.manifest import read_manifest
from tests.zoo.conftest import write_model

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/howto/zoo.md").read_text(encoding="utf-8")


def block(kind: str, number: int = 0) -> str:
    """A block of code in the page, by its kind."""
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```", PAGE)[number]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with zoo.toml and five models, and a PATH with `deepmerge` and Slurm's `srun`."""
    for width in range(3, 8):
        write_model(tmp_path / "models", f"m{width}", width)
    (tmp_path / "zoo.toml").write_text(
        'version = 1\n[defaults]\nexact = true\n[[model]]\nprototxt = "models/*.prototxt"\n'
    )
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "deepmerge").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m deepmerge "$@"\n')
    (bin / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for file in bin.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


def sh(place: Path, command: str, **env: str) -> None:
    done = subprocess.run(
        ["bash", "-ec", command], cwd=place, capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def assert_all_converted(place: Path, count: int = 5) -> None:
    lines = (place / "converted/index.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["converted"] * count
    assert (place / "converted/index.html").exists()


def test_the_manifest_is_right(place):
    text = block("toml")
    (place / "zoo.toml").write_text(text)
    found = read_manifest(place / "zoo.toml", Converter())
    assert found.problems == [] and [model.name for model in found.models][-1] == "googlenet" and len(found.models) == 6
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/schemas/zoo.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(text), schema)
    for wrong in (
        "version = 1\n",
        text.replace("[defaults]", "[default]"),
        text.replace("expect.verify", "expect.verifi"),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(wrong), schema)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_makefile_converts_what_changed(place):
    (place / "Makefile").write_text(block("make"))
    sh(place, "make")
    assert_all_converted(place)
    made = place / "models/m3/deploy.prototxt"
    assert made.exists()
    before = made.stat().st_mtime_ns
    sh(place, "make -q")
    write_model(place / "models", "m4", 9)
    sh(place, "make")
    assert "num_output: 9" in (place / "models/m4/deploy.prototxt").read_text() and made.stat().st_mtime_ns == before
    assert "num_output: 9" in (place / "converted/m4/deploy.prototxt").read_text()


def jobs(text: str, marker: str) -> list[list[str]]:
    """The `deepmerge` commands of each job of a workflow: the text is cut at the line of the second job."""
    return [re.findall(r"(?m)^\s*- (?:run: )?(deepmerge .*)$", part) for part in re.split(marker, text)]


def test_githubs_jobs_convert_and_join(place):
    convert, page = jobs(block("yaml"), r"(?m)^  page:$")
    summary = place / "summary.md"
    for shard in re.search(r"shard: \[(.*)\]", block("yaml"))[1].split(", "):
        for command in convert:
            sh(place, command.replace("${{ matrix.shard }}", shard), GITHUB_STEP_SUMMARY=str(summary))
        assert (place / f"zoo-{shard}.xml").exists()
    assert summary.read_text().count("## zoo") == 4
    for command in page:
        sh(place, command)
    assert_all_converted(place)
    assert len(convert) == len(page) == 1


def test_gitlabs_jobs_convert_and_join(place):
    convert, page = jobs(block("yaml", 1), r"(?m)^page:$")
    count = re.search(r"parallel: (\d+)", block("yaml", 1))[1]
    for index in range(1, int(count) + 1):
        for command in convert:
            sh(place, command, CI_NODE_INDEX=str(index), CI_NODE_TOTAL=count)
    for command in page:
        sh(place, command)
    assert_all_converted(place)
    assert (place / "zoo.xml").exists() and len(convert) == len(page) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_the_workflows_are_yaml(number):
    yaml = pytest.importorskip("yaml")
    assert "page" in str(yaml.safe_load(block("yaml", number - 1)))


def test_slurms_array_converts_and_joins(place):
    (place / "zoo.sh").write_text(block("bash"))
    for index in range(1, 4):
        task = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "2"}
        sh(place, "bash zoo.sh", **task)
    sh(place, "deepmerge zoo zoo.toml -o converted --merge-index")
    assert_all_converted(place)
    assert (place / "zoo-3.xml").exists()


def test_the_containers_command_converts(place):
    words = [json.loads(re.search(rf"(?m)^{key} (\[.*\])$", block("dockerfile"))[1]) for key in ("ENTRYPOINT", "CMD")]
    sh(place, shlex.join(words[0] + words[1]))
    assert_all_converted(place)


def test_a_cache_without_the_files_times_is_used(place):
    """CI checks files out anew and unpacks results: the digests alone say what is there."""
    sh(place, "deepmerge zoo zoo.toml -o converted")
    before = (place / "converted/m3/report.json").stat().st_mtime_ns
    shutil.copytree(place / "models", place / "again")
    shutil.rmtree(place / "models")
    (place / "again").rename(place / "models")
    sh(place, "touch models/*; deepmerge zoo zoo.toml -o converted")
    assert (place / "converted/m3/report.json").stat().st_mtime_ns == before
