"""README.md mentions every command and every option, and names no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.listing import missing_from

ROOT = Path(__file__).parents[1]


def test_every_command_and_option_is_mentioned():
    assert missing_from((ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_links_lead_somewhere():
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("models/**/README.md"),
        *ROOT.glob("docs/*.md"),
    ):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_recipe_for_make_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = re.findall(
        r"(?:`|    )make ([a-z][a-z-]+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert wanted and all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in wanted)
