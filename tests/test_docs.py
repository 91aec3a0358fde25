"""What the README and docs/ say is there: commands, options, files, make targets, and the schemas' documents."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from deepmerge.cli import main
from tests.cli.listing import commands, options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted(ROOT.glob("docs/**/*.md")) if "_generated" not in page.parts),
    *sorted(ROOT.glob("models/**/README.md")),
]
COMMON = {"--help", "--help-all", "--version"}


def lines_of(page: Path) -> list[str]:
    """The command lines in a page's code blocks; a line that ends in a backslash goes on."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"(?m)^(?:    |\t)?(deepmerge [a-z][^\n]*)$", text)


def test_the_commands_in_the_pages_are_there():
    seen = set()
    for page in PAGES:
        for line in lines_of(page):
            words = shlex.split(line, comments=True)
            if words[1] not in commands():
                continue  # a sentence
            seen.add(words[1])
            known = {spelt for spellings in options(words[1]) for spelt in spellings} | COMMON
            unknown = [word for word in words[2:] if re.fullmatch(r"-{1,2}[a-z][a-z-]*", word) and word not in known]
            assert not unknown, f"{page.name}: {line}"
    assert {"convert", "recover", "finetune", "eval", "bench", "report", "plan", "verify"} <= seen


def test_the_commands_in_the_pages_can_be_parsed():
    """Every value is one that its option takes; the files need not be there."""
    for page in PAGES:
        for line in lines_of(page):
            words = shlex.split(re.split(r" > | \| ", line)[0].replace("$^", "a.prototxt a.caffemodel"), comments=True)
            if words[1] in commands() and not {"…", "NET", "OUT", "SPEC"} & {*words}:
                try:
                    commands()[words[1]].make_context(words[1], words[2:])
                except click.UsageError as error:
                    pytest.fail(f"{page.name}: {line}: {error.format_message()}")


def test_options_named_in_the_text_are_there():
    known = {spelt for name in commands() for spellings in options(name) for spelt in spellings} | COMMON
    for page in [
        ROOT / "README.md",
        *(page for page in ROOT.glob("docs/**/*.md") if not {"develop", "_generated"} & {*page.parts}),
    ]:
        for word in re.findall(r"`(--[a-z][a-z0-9-]+)", page.read_text(encoding="utf-8")):
            assert word in known, f"{page.name}: {word}"


def test_the_reference_has_every_command():
    """The page is made from the click commands by docs/generate.py."""
    text = runpy.run_path(str(ROOT / "docs/generate.py"))["commands"]()
    for name in commands():
        assert f"\n```text\ndeepmerge {name} " in text
    spelt = {word for name in commands() for spellings in options(name) for word in spellings}
    assert [word for word in spelt if f"{word}" not in text] == []
    assert "{include} ../_generated/commands.md" in (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_recipes_for_make_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|    )make ([a-z][a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert {"demo", "test", "docs"} <= wanted
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in wanted)


VARIANTS = {
    "default": [],
    "exact": ["--exact"],
    "full": ["--width", "full", "--keep", "pool2/3x3_s2"],
    "tucker": ["--tucker", "--rank", "macs:0.5", "--init", "xavier"],
    "recovered": ["--steps", "conv1", "--recover", "npz:images.npz", "--recover-stages", "lsq"],
    "calibrated": ["--tucker", "--calibration", "npz:images.npz", "--calibration-images", "20"],
}


@pytest.fixture
def images(tmp_path, monkeypatch):
    """images.npz in the current folder."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(40) % 10)
    monkeypatch.chdir(tmp_path)


def invoke(*words: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


def convert(models: Path, out: str, *words: str) -> None:
    mini = models / "inception_mini/inception_mini"
    invoke("convert", f"{mini}.prototxt", f"{mini}.caffemodel", "-o", out, "-q", *words)


def assert_fits(name: str, document: dict) -> None:
    """The document fits its schema, and would not with a key more."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "surprise": 1}, schema)


@pytest.mark.parametrize("variant", VARIANTS)
def test_documents_of_every_kind_fit_their_schemas(variant, models, images):
    convert(models, "out", *VARIANTS[variant])
    assert_fits("report", json.loads(Path("out/report.json").read_text(encoding="utf-8")))
    assert_fits("recipe", tomllib.loads(Path("out/recipe.toml").read_text(encoding="utf-8")))


def test_the_report_of_a_fine_tuned_network_fits_its_schema(models, images):
    pytest.importorskip("torch")
    convert(models, "out", "--steps", "conv1")
    invoke("finetune", "out", "--data", "npz:images.npz", "-o", "tuned", "--max-iter", "1", "--batch-size", "4", "-q")
    report = json.loads(Path("tuned/report.json").read_text(encoding="utf-8"))
    assert "finetuning" in report
    assert_fits("report", report)
