"""The page as a whole: that nothing in it can be broken out of, that it loads nothing, and that it is always the same."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import deepmerge.page
from deepmerge.errors import EmitError, ReadError
from deepmerge.out.read import read_converted
from deepmerge.page import Files, write_page
from deepmerge.page.page import make_page
from tests.conversion import Job, convert
from tests.page.conftest import BIDI, EVIL, TEMPLATE, bench_json, profile_json, table_json

VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Elements, their nesting, ids, and the content of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, text):
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(text)

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def files(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = {"profile": profile_json(), "bench": bench_json(), "table": table_json(read_converted(mini))}
    for name, value in made.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return Files(*(folder / f"{name}.json" for name in made))


@pytest.fixture(scope="module", params=["mini", "measured", "evil"])
def text(request, files) -> str:
    folder = request.getfixturevalue("evil" if request.param == "evil" else "mini")
    return make_page(read_converted(folder), files if request.param == "measured" else Files())


def test_it_is_whole_html_with_unique_ids_and_names_for_all_controls(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for key in ("aria-labelledby", "for"):
            assert key not in attributes or attributes[key] in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert page.of("html")[0]["lang"] == "en" and len(page.of("h1")) == 1
    for drawing in page.of("svg"):
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and drawing["aria-label"])


def test_it_loads_nothing(text):
    page = Page(text)
    for _, attributes in page.tags:
        for key in ("src", "srcset", "action", "data", "poster", "background"):
            assert key not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:,"))
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
    for script in page.raw["script"][1:]:
        assert not re.search(
            r"\b(fetch|XMLHttpRequest|import|WebSocket|innerHTML|outerHTML|insertAdjacentHTML|eval|document\.write)\b",
            script,
        )
    assert not re.search(r"url\(|@import", "".join(page.raw["style"]))


def test_only_its_own_script_may_run(text):
    page = Page(text)
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    data, script = page.raw["script"]
    for kind, content in (("script", script), ("style", page.raw["style"][0])):
        wanted = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{wanted}'" in policy
    assert json.loads(data)["stages"]


def test_names_stay_names(evil):
    page = Page(make_page(read_converted(evil)))
    assert not page.of("img") and not page.of("i") and not page.of("u") and len(page.of("script")) == 2
    data = json.loads(page.raw["script"][0])
    names = {layer["name"] for layer in data["layers"]}
    assert {EVIL, TEMPLATE, BIDI.replace("\u202e", "\\u202e"), "<b>fork</b>"} <= names
    assert any(layer["settings"] == ["html <u>&amp;"] for layer in data["layers"])


def test_names_that_no_text_can_hold(models, tmp_path):
    """Bytes that are no UTF-8 come as surrogates; a report may hold any name."""
    out = tmp_path / "out"
    pair = [models / "inception_mini" / f"inception_mini.{kind}" for kind in ("prototxt", "caffemodel")]
    source = tmp_path / "net.prototxt"
    source.write_bytes(pair[0].read_bytes().replace(b'"pool5/drop"', b'"\xff\xfe"'))
    convert(Job(source, pair[1], out))
    assert b"udcff" in write_page(out).read_bytes()


def test_the_same_files_give_the_same_bytes(mini, files, tmp_path, monkeypatch):
    first = make_page(read_converted(mini), files)
    monkeypatch.chdir(tmp_path)
    assert make_page(read_converted(mini), files) == first
    assert str(mini) not in first and not re.search(r"\b20\d\d-\d\d-\d\d\b", first)


def test_paths_are_shown_without_their_folders(mini, models, tmp_path, monkeypatch):
    """The page may be passed on: it names files, not somebody's home."""
    profile, table = profile_json(), table_json(read_converted(mini)) | {"data": "folder:/home/ada/my images/val"}
    profile["engines"][1]["absent"] = "/home/ada/env/bin/python: there is no module caffe"
    for name, value in {"profile": profile, "table": table}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    shutil.copytree(mini, tmp_path / "out")
    report = json.loads((mini / "report.json").read_text())
    report["warnings"] = ["/home/ada/mean.binaryproto: ignored"]
    report["source"]["prototxt"]["path"] = "/home/ada/nets/mini.prototxt"
    (tmp_path / "out" / "report.json").write_text(json.dumps(report))
    files = Files(profile=tmp_path / "profile.json", table=tmp_path / "table.json")
    text = make_page(read_converted(tmp_path / "out"), files)
    for shown in ("report.json: the original&#x27;s prototxt, mini.prototxt, is not there", "<code>mini.prototxt</code>",
                  "python: there is no module caffe", "<li>mean.binaryproto: ignored", "images of folder:val"):  # fmt: skip
        assert shown in text
    assert "/home/" not in text and str(tmp_path) not in text and str(models) not in text


def test_folders_with_spaces_are_left_out_too(mini, tmp_path, monkeypatch):
    """Those that are known: the home folder, OUT's and the source's."""
    monkeypatch.setenv("HOME", "/home/Jane Roe")
    out = Path(shutil.copytree(mini, tmp_path / "Ann Doe" / "out"))
    report = json.loads((mini / "report.json").read_text())
    report["source"]["prototxt"]["path"] = "/Users/Joe Doe/nets/mini.prototxt"
    report["warnings"] = ["mean_file '/Users/Joe Doe/nets/mean.npy' and '/home/Jane Roe/mean.npy' are not there"]
    (out / "report.json").write_text(json.dumps(report))
    text = make_page(read_converted(out))
    for shown in (": report.json: the original&#x27;s prototxt, mini.prototxt, is not there",
                  "mean_file &#x27;mean.npy&#x27; and &#x27;mean.npy&#x27; are"):  # fmt: skip
        assert shown in text
    assert " Doe" not in text and " Roe" not in text


def test_pages_of_large_networks_are_small(zoo, tmp_path):
    convert(Job(zoo / "googlenet.prototxt", zoo / "googlenet.caffemodel", tmp_path / "out"))
    assert write_page(tmp_path / "out").stat().st_size < 500_000


@pytest.mark.slow  # 240 MB of made-up weights
def test_the_page_of_resnet_152_is_small(models, tmp_path):
    from deepmerge.formats.read import read_network
    from deepmerge.formats.write.caffemodel import write_caffemodel
    from deepmerge.measure.harness.fill import fill

    prototxt = models / "resnet152" / "deploy.prototxt"
    graph = read_network(prototxt)
    fill(graph)
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    convert(Job(prototxt, tmp_path / "net.caffemodel", tmp_path / "out"))
    assert write_page(tmp_path / "out").stat().st_size < 2_000_000


@pytest.mark.parametrize(
    "break_", [lambda r: r.update(before=3), lambda r: r["steps"][0].update(into=[3]), lambda r: r.update(warnings={})]
)
def test_reports_that_are_none(mini, tmp_path, break_):
    shutil.copytree(mini, tmp_path / "out")
    report = json.loads((mini / "report.json").read_text())
    break_(report)
    (tmp_path / "out" / "report.json").write_text(json.dumps(report))
    with pytest.raises(ReadError, match="is not a report of a conversion"):
        write_page(tmp_path / "out")


def test_writing(mini, tmp_path):
    shutil.copytree(mini, tmp_path / "out")
    assert write_page(tmp_path / "out") == tmp_path / "out" / "report.html"
    with pytest.raises(EmitError, match="report.html: exists already; give another name with -o, or --force"):
        write_page(tmp_path / "out")
    write_page(tmp_path / "out", force=True)
    for place, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "page.html", "cannot be written: No such file"),
    ):
        with pytest.raises(EmitError, match=message):
            write_page(tmp_path / "out", place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_full_disk_leaves_nothing(mini, tmp_path, monkeypatch):
    shutil.copytree(mini, tmp_path / "out")
    before = sorted((tmp_path / "out").iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(EmitError, match="cannot be written: No space left"):
        write_page(tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == before


PALETTES = re.compile(r"(:root[^{]*)\{([^}]*)\}")


def test_colours_have_enough_contrast():
    """WCAG 2.1: text 4.5 to 1 against its background, lines that carry meaning 3 to 1, in both themes."""
    css = (Path(deepmerge.page.__file__).parent / "page.css").read_text()
    palettes = []
    for _, body in PALETTES.findall(css.split("@media print")[0]):
        palettes.append(dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", body)))
    assert len(palettes) == 3 and palettes[1] == palettes[2]
    for colours in palettes:
        for front in ("ink", "soft", "accent"):
            for back in ("paper", "raised", "wash"):
                assert contrast(colours[front], colours[back]) >= 4.5, (front, back)
        assert (
            contrast(colours["ink"], colours["accent-wash"]) >= 4.5
            and contrast(colours["soft"], colours["accent-wash"]) >= 4.5
        )
        assert contrast(colours["faint"], colours["paper"]) >= 3 and contrast(colours["faint"], colours["raised"]) >= 3


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
