"""The page in a real browser: Chromium, driven by Selenium. `make test-report` gets both, and keeps pictures with SCREENSHOTS=dir."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from deepmerge.out.read import read_converted
from deepmerge.page import Files, write_page
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.page.conftest import EVIL, profile_json, table_json

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --force-device-scale-factor=1"
).split()
DESKTOP, PHONE = (1440, 900), (390, 844)
PICTURES = os.environ.get("DEEPMERGE_SCREENSHOTS")


def missing() -> str:
    """Why there is no browser to test with, "" if there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    if not browser() or not shutil.which("chromedriver"):
        return "chromium and chromedriver are not on PATH"
    return ""


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    reason = missing()
    if reason:
        reason += "; `make test-report` gets what it takes"
        pytest.fail(reason) if os.environ.get("DEEPMERGE_REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def page(mini, tmp_path_factory) -> Path:
    """The small network's page, with measurements."""
    folder = tmp_path_factory.mktemp("page")
    made = {"profile": profile_json(), "table": table_json(read_converted(mini))}
    for name, value in made.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    files = Files(profile=folder / "profile.json", table=folder / "table.json")
    return write_page(mini, folder / "page.html", files=files)


class Shown:
    """A page in the browser, and what a reader can do there."""

    def __init__(self, driver, file: Path, size=DESKTOP, dark=False, still=True, script=True):
        self.driver = driver
        driver.get_log("browser"), driver.get_log("performance")
        self.command("Emulation.setScriptExecutionDisabled", value=not script)
        width, height = size
        phone = size == PHONE
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self.media(features=[{"name": name, "value": value} for name, value in features.items()])
        driver.get(file.as_uri())

    def command(self, name: str, **values):
        return self.driver.execute_cdp_cmd(name, values)

    def media(self, **values):
        self.command("Emulation.setEmulatedMedia", **values)

    def js(self, script: str, *values):
        return self.driver.execute_script(f"return {script}", *values)

    def one(self, css: str):
        return self.driver.find_element("css selector", css)

    def all(self, css: str):
        return self.driver.find_elements("css selector", css)

    def keys(self, *names: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        for name in names:
            ActionChains(self.driver).send_keys(getattr(Keys, name)).perform()

    @property
    def wide(self) -> int:
        """How wide the page is; a phone's innerWidth grows with it, and so cannot tell."""
        return self.js("document.documentElement.scrollWidth")

    @property
    def where(self) -> str:
        return self.one("#where").text

    def names(self) -> set[str]:
        """The layers in the drawing, by what a screen reader says of them."""
        return {
            label.partition(",")[0]
            for label in self.js("[...document.querySelectorAll('.node')].map(n => n.ariaLabel)")
        }

    def complaints(self) -> list:
        return [entry for entry in self.driver.get_log("browser") if "favicon" not in entry["message"]]

    def requests(self) -> list[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("data:", "chrome://"))]  # chrome: the browser's own new tab

    def picture(self, name: str) -> None:
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(PICTURES, f"{name}.png")))


@pytest.fixture(
    params=[(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)],
    ids=["desktop", "desktop-dark", "phone", "phone-dark"],
)
def view(request, driver, page):
    size, dark = request.param
    return Shown(driver, page, size, dark)


def test_it_opens_without_a_complaint_or_a_request(view, page, request):
    assert view.complaints() == []
    assert view.requests() == [page.as_uri()]
    view.picture(request.node.callspec.id)
    assert view.wide <= request.node.callspec.params["view"][0][0], "wider than the window"
    assert view.one("#graph").is_displayed() and view.one("#details h3").text


def test_it_opens_on_the_first_merge(view):
    assert view.where.startswith("Step 1, conv1") and view.one("#scrub").get_attribute("value") == "2"


def test_it_opens_on_the_original_where_nothing_was_merged(driver, mini, models, tmp_path):
    pair = (models / "inception_mini" / f"inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    convert(Job(*pair, tmp_path / "out", Wishes(exact=True)))
    assert Shown(driver, write_page(tmp_path / "out")).where.startswith("Original: 57 layers")


@pytest.mark.parametrize("name", ["page", "evil", "recovered"])
def test_nothing_on_the_first_screen_of_a_phone_is_wider_than_it(driver, request, name, tmp_path):
    file = request.getfixturevalue(name)
    view = Shown(driver, file if name == "page" else write_page(file, tmp_path / "page.html"), PHONE)
    wide = """[...document.querySelectorAll('body *')].filter(one => { const box = one.getBoundingClientRect();
        return box.top < innerHeight && box.bottom > 0 && box.width && box.left >= 0
            && (box.right > innerWidth + 1 || (one.clientWidth && one.scrollWidth > one.clientWidth + 1)); })
        .map(one => one.outerHTML.slice(0, 80))"""
    assert view.js(wide) == [] and view.wide <= PHONE[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_recovered_network_is_said_to_be(driver, recovered, dark, tmp_path):
    view = Shown(driver, write_page(recovered, tmp_path / "page.html"), dark=dark)
    view.picture(f"recovered-{'dark' if dark else 'light'}")
    assert view.where.startswith("Step 1, conv1")
    assert view.one("#what").text.endswith("Approximate: it cost accuracy; the network has been recovered since.")
    inside = (
        "[...document.querySelectorAll('.headline dd')].map(one => one.getBoundingClientRect().bottom < innerHeight)"
    )
    assert view.js(inside) == [True] * 3


def test_what_scrolls_sideways_shows_it(driver, page):
    view = Shown(driver, page, PHONE)
    shades = view.js("""[...document.querySelectorAll('main *, nav *')].filter(one => one.clientWidth > 1
        && one.scrollWidth > one.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX))
        .map(one => getComputedStyle(one).backgroundAttachment)""")
    assert len(shades) > 8 and set(shades) == {"local, local, scroll, scroll"}


def test_it_is_in_the_theme_that_the_reader_has(view, request):
    assert (brightness(view) < 60) == request.node.callspec.id.endswith("dark")
    for wanted, dark in (("light", False), ("dark", True), ("auto", None)):
        view.one("#theme").click()
        assert view.one("#theme").get_attribute("aria-label") == f"Theme: {wanted}"
        assert dark is None or (brightness(view) < 60) == dark


def brightness(view: Shown) -> float:
    """The page's background, from 0 (black) to 255."""
    return sum(map(int, re.findall(r"\d+", view.js("getComputedStyle(document.body).backgroundColor"))[:3])) / 3


@pytest.mark.parametrize("giga, shown", [(999.4, "999 G"), (999.5, "1,000 G"), (1233.6, "1,234 G")])
def test_a_thousand_billions_and_more_are_whole_numbers(driver, page, tmp_path, giga, shown):
    """As in the page's tables."""
    large = re.sub(r'"macs":\d+', f'"macs":{round(giga * 1e9)}', page.read_text(encoding="utf-8"))
    (tmp_path / "page.html").write_text(large, encoding="utf-8")
    assert Shown(driver, tmp_path / "page.html").where.endswith(f" layers, {shown} MACs")


def test_the_slider_scrubs_by_mouse(view, mini_stages):
    from selenium.webdriver.common.action_chains import ActionChains

    slider = view.one("#scrub")
    view.js("document.getElementById('steps').scrollIntoView()")
    last = len(mini_stages) - 1
    ActionChains(view.driver).move_to_element_with_offset(slider, slider.size["width"] // 2 - 3, 0).click().perform()
    assert view.where.startswith(
        f"Step {mini_stages[last].index}, {mini_stages[last].title}: {mini_stages[last].totals['layers']} layers"
    )
    assert view.names() == {fact.name for fact in mini_stages[last].facts}
    ActionChains(view.driver).move_to_element_with_offset(slider, -(slider.size["width"] // 2) + 3, 0).click().perform()
    assert view.where.startswith("Original: 57 layers")


def test_buttons_go_back_and_forth(view, mini_stages):
    previous, following = view.one("#previous"), view.one("#next")
    previous.click(), previous.click()
    assert view.where.startswith("Original") and not previous.is_enabled() and following.is_enabled()
    for stage in mini_stages[1:]:
        following.click()
        assert stage.title in view.where and view.names() == {fact.name for fact in stage.facts}
    assert not following.is_enabled()
    previous.click()
    assert mini_stages[-2].title in view.where


def test_arrow_keys_scrub(view, mini_stages):
    view.js("document.getElementById('scrub').focus()")
    view.keys("ARROW_RIGHT")
    assert view.where.startswith("Step 2, conv2") and view.one("#scrub").get_attribute("aria-valuetext") == view.where
    view.keys("ARROW_LEFT", "ARROW_LEFT")
    assert view.where.startswith("Exact folds")
    view.keys("END")
    assert mini_stages[-1].title in view.where
    view.keys("HOME")
    assert view.where.startswith("Original")


def test_keys_show_a_layers_details(view):
    """One stop of the tab key; up and down go through the layers, left and right through the steps."""
    view.js("document.querySelector('#view > svg').focus()")
    assert view.js("document.activeElement.classList.contains('node')")
    view.keys("HOME")
    assert view.one("#details h3").text == "data"
    view.keys("ARROW_DOWN")
    assert view.one("#details h3").text == "conv1/3x3" and "num_output" in view.one("#details").text
    assert view.js("document.activeElement.ariaLabel").startswith("conv1/3x3, Convolution")
    view.keys("ARROW_LEFT", "ARROW_RIGHT")
    assert view.where.startswith("Step 1, conv1") and view.js("document.activeElement.classList.contains('node')")
    assert "new or changed in this step" in view.one("#details").text


def test_a_click_shows_a_layers_details(view):
    view.one(".node[aria-label^='conv2/3x3,']").click()
    assert view.one("#details h3").text == "conv2/3x3"
    assert view.js("document.querySelector('.node[aria-selected=true]').ariaLabel").startswith("conv2/3x3,")
    assert "reads" in view.one("#details").text and len(view.all(".edge.near")) == 2


def test_what_changes_is_marked_and_in_view(view):
    for _ in range(2):
        view.one("#next").click()
    view.js("document.getElementById('graph').scrollIntoView()")
    assert view.where.startswith("Step 3, inception_3a")
    inside = """[...document.querySelectorAll('.node.new')].map(node => {
        const box = node.getBoundingClientRect(), frame = document.getElementById('view').getBoundingClientRect();
        return box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1; })"""
    assert view.js(inside) == [True] * 4
    assert len(view.all(".node.going")) >= 7 and view.one("#what").text.startswith(
        "merge_branches: 7 layers into 4 layers. Approximate"
    )


def test_sizes(view):
    width = view.js("document.querySelector('#view svg').getBoundingClientRect().width")
    view.one("#larger").click()
    assert view.js("document.querySelector('#view svg').getBoundingClientRect().width") > width
    view.one("#fit").click()
    box = view.js(
        "(v => [v.scrollHeight, v.clientHeight, v.scrollWidth, v.clientWidth])(document.getElementById('view'))"
    )
    assert box[0] <= box[1] + 1 and box[2] <= box[3] + 1


def test_parts_of_the_network_are_gone_to(view, mini_stages):
    parts = view.all("#part option")[1:]
    names = [part.get_attribute("textContent") for part in parts]
    assert names == ["data", "conv1", "conv2", "inception_3a", "inception_3b", "inception_4a", "loss3"]
    parts[4].click()
    first = view.one("#details h3").text
    assert first.startswith("inception_3b/")
    box, frame = (view.js("(e => [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom])(document.querySelector(arguments[0]))", css)
                  for css in (".node[aria-selected=true]", "#view"))  # fmt: skip
    assert frame[0] <= box[0] and box[1] <= frame[1]


def test_layers_that_stay_keep_their_elements(driver, page):
    view = Shown(driver, page)
    view.one("#previous").click()
    view.js("window.kept = document.querySelector('.node[aria-label^=\"inception_4a/3x3,\"]')")
    for _ in range(3):
        view.one("#next").click()
    assert view.js(
        "window.kept.isConnected && window.kept === document.querySelector('.node[aria-label^=\"inception_4a/3x3,\"]')"
    )


@pytest.mark.parametrize("still", [True, False])
def test_motion_is_reduced_where_asked(driver, page, still):
    view = Shown(driver, page, still=still)
    moving = view.js("getComputedStyle(document.querySelector('.node')).transitionDuration")
    assert (moving in ("", "0s")) == still
    assert (view.js("getComputedStyle(document.querySelector('.edge')).animationName") == "none") == still


def test_copying(driver, page):
    view = Shown(driver, page)
    button = view.one(".copy")
    view.js("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert view.js("new Promise(done => setTimeout(() => done(document.querySelector('.copy').textContent), 300))") in (
        "Copied",
        "Selected",
    )


def test_without_javascript_all_but_the_drawing_is_there(driver, page):
    view = Shown(driver, page, script=False)
    try:
        text = view.command("DOM.getOuterHTML", nodeId=view.command("DOM.getDocument")["root"]["nodeId"])["outerHTML"]
        assert "needs JavaScript" in text and 'id="graph" class="graph" hidden' in text
        box = view.command("DOM.getBoxModel", nodeId=node(view, "table.steps"))["model"]
        assert box["height"] > 100
        view.picture("no-script")
    finally:
        view.command("Emulation.setScriptExecutionDisabled", value=False)


def node(view: Shown, css: str) -> int:
    root = view.command("DOM.getDocument")["root"]["nodeId"]
    return view.command("DOM.querySelector", nodeId=root, selector=css)["nodeId"]


def test_print(driver, page, tmp_path):
    """Printed, the tables are there and the drawing is not; what was folded away in tables is open."""
    import base64

    view = Shown(driver, page)
    pdf = base64.b64decode(view.command("Page.printToPDF", printBackground=False)["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000
    if PICTURES:
        Path(PICTURES, "print.pdf").write_bytes(pdf)
    view.media(media="print")
    assert [view.one(css).is_displayed() for css in ("#graph", "nav", "table.steps")] == [False, False, True]
    view.media(media="")


def test_names_do_nothing(driver, evil, tmp_path):
    view = Shown(driver, write_page(evil, tmp_path / "page.html"))
    assert view.complaints() == [] and len(view.requests()) == 1
    assert "pwned" not in view.driver.title.replace(EVIL, "")
    assert view.js("document.querySelectorAll('img, i, u').length") == 0
    labels = view.js("[...document.querySelectorAll('.node')].map(n => n.ariaLabel)")
    assert any(label.startswith(EVIL) for label in labels)
    view.js("document.getElementById('scrub').focus()")
    view.keys("HOME")
    for _ in range(view.js("Number(document.getElementById('scrub').max)")):
        view.one("#next").click()
    view.js("document.querySelector('#view > svg').focus()")
    view.keys("HOME", "ARROW_DOWN")
    assert view.one("#details h3").text == EVIL and view.complaints() == []
    view.picture("evil")
