"""The page of a zoo: what is in it, and in a real browser what a reader can do there."""

from __future__ import annotations

import pytest

from deepmerge.page.zoo import ModelRow, is_zoo_page, zoo_page
from tests.page.conftest import BIDI, EVIL, QUOTE
from tests.page.test_browser import DESKTOP, PHONE, Shown, driver, view  # noqa: F401  (a fixture)
from tests.page.test_page import Page


def row(name: str, status: str = "converted", **more) -> ModelRow:
    done = status == "converted"
    figures = {"layers": (57, 40), "params": (1_000_000, 900_000), "macs": (10_000_000, 4_000_000), "refusals": 2}
    known = (
        figures | {"seconds": 1.5, "peak_bytes": 90_000_000}
        if done
        else dict.fromkeys([*figures, "seconds", "peak_bytes"])
    )
    links = {
        "report": "x/report.html" if done else "",
        "log": "" if done else "x/log.txt",
        "why": "" if done else "it broke",
    }
    return ModelRow(**{"name": name, "status": status, **links, **known, **more})


ROWS = [
    row("resnet50", macs=(9_000_000, 8_000_000), seconds=20.0, tags=("big", "residual")),
    row("alexnet", macs=(800, 400), seconds=3.0, licence="BSD", checks={"verify": 3e-7, "target": True}),
    row("broken", "failed", why="x.caffemodel: is text"),
    row("hungry", "set aside", why="its process was ended by SIGKILL, twice"),
    row("squeezenet", macs=(1000, 100), seconds=100.0),
]  # fmt: skip


def test_a_model_is_a_row_with_a_link_to_its_page(tmp_path):
    page = zoo_page("zoo", "5 models", ROWS)
    assert [a["href"] for a in Page(page).of("a")][2:] == [
        "x/report.html",
        "x/report.html",
        "x/log.txt",
        "x/log.txt",
        "x/report.html",
    ]
    assert "verify 3e-07, target passed" in page and "x.caffemodel: is text" in page and "Source" not in page
    assert "\\n" not in page.partition("<script>")[0]
    assert is_zoo_page(page.encode()) and not is_zoo_page(b"<html><h1>deepmerge zoo</h1>")


def test_names_stay_names():
    page = Page(zoo_page(EVIL, EVIL, [row(EVIL, why=QUOTE, tags=(EVIL,), licence=QUOTE, source=EVIL), row(BIDI, EVIL)]))
    assert not page.of("img") and not page.of("svg") and len(page.of("script")) == 1
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on") or key == "style"]
    assert "\u202e" not in zoo_page("zoo", "", [row(BIDI)])


def test_it_loads_nothing_and_runs_its_own_script_alone():
    page = Page(zoo_page("zoo", "", ROWS))
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not [attributes for _, attributes in page.tags if {"src", "srcset", "action"} & set(attributes)]
    assert "innerHTML" not in page.raw["script"][0]


@pytest.fixture(
    params=[(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)],
    ids=["desktop", "desktop-dark", "phone", "phone-dark"],
)
def shown(request, driver, tmp_path):  # noqa: F811
    file = tmp_path / "index.html"
    file.write_text(zoo_page("A zoo", "5 models: 3 converted, 1 failed, 1 set aside", ROWS), encoding="utf-8")
    size, dark = request.param
    made = Shown(driver, file, size, dark)
    made.picture(f"zoo-{request.node.callspec.id}")
    return made


def names(shown) -> list[str]:
    return [one.text for one in shown.all("tbody tr:not([hidden]) th")]


def click(shown, head: str) -> None:
    shown.js(
        "[...document.querySelectorAll('thead button')].find(one => one.textContent === arguments[0]).click()", head
    )


@pytest.mark.browser
def test_it_opens_in_a_browser_without_a_complaint_or_a_request(shown, request, tmp_path):
    assert shown.complaints() == []
    assert shown.requests() == [(tmp_path / "index.html").as_uri()]
    assert shown.wide <= request.node.callspec.params["shown"][0][0], "wider than the window"
    assert names(shown) == [one.name for one in ROWS] and shown.one("#shown").text == "5 of 5 shown"


@pytest.mark.browser
def test_a_click_on_a_column_sorts_by_it(shown):
    click(shown, "MACs")  # by the share that is left; what has none is last
    assert names(shown) == ["squeezenet", "alexnet", "resnet50", "broken", "hungry"]
    click(shown, "MACs")
    assert names(shown) == ["resnet50", "alexnet", "squeezenet", "broken", "hungry"]
    click(shown, "Seconds")
    assert names(shown)[:3] == ["alexnet", "resnet50", "squeezenet"]
    click(shown, "Model")
    assert names(shown) == sorted(one.name for one in ROWS)
    assert shown.js("[...document.querySelectorAll('[aria-sort]')].map(one => one.textContent)") == ["Model"]


@pytest.mark.browser
def test_words_and_states_filter_the_models(shown):
    shown.one("#words").send_keys("bsd VERIFY")
    assert names(shown) == ["alexnet"] and shown.one("#shown").text == "1 of 5 shown"
    shown.one("#words").clear()
    shown.one("#words").send_keys("residual")
    assert names(shown) == ["resnet50"]
    shown.js(
        "(words => { words.value = ''; words.dispatchEvent(new Event('input')); })(document.getElementById('words'))"
    )
    for option, wanted in (
        ("failed", ["broken"]),
        ("set aside", ["hungry"]),
        ("converted", ["resnet50", "alexnet", "squeezenet"]),
    ):
        next(one for one in shown.all("#status option") if one.get_attribute("value") == option).click()
        assert names(shown) == wanted


@pytest.mark.browser
def test_names_that_attack_do_nothing_in_a_browser(driver, tmp_path):  # noqa: F811
    file = tmp_path / "index.html"
    file.write_text(zoo_page("zoo", EVIL, [row(EVIL, why=QUOTE, source=QUOTE), row(QUOTE, EVIL)]), encoding="utf-8")
    shown = Shown(driver, file)
    click(shown, "Model")
    shown.one("#words").send_keys("<")
    assert shown.complaints() == [] and "pwned" not in shown.js("document.title")
    assert len(names(shown)) == 2


@pytest.mark.browser
def test_the_table_is_there_without_javascript(driver, tmp_path):  # noqa: F811
    file = tmp_path / "index.html"
    file.write_text(zoo_page("zoo", "", ROWS), encoding="utf-8")
    shown = Shown(driver, file, script=False)
    try:
        text = shown.command("DOM.getOuterHTML", nodeId=shown.command("DOM.getDocument")["root"]["nodeId"])["outerHTML"]
        assert 'id="filter" class="filter" hidden' in text and "resnet50" in text
    finally:
        shown.command("Emulation.setScriptExecutionDisabled", value=False)
