import hashlib
import os

import pytest

from deepmerge.errors import ReadError
from deepmerge.zoo.files import digest, expand, local, signature


@pytest.fixture
def folder(tmp_path):
    for name in (
        "nets/r18.prototxt",
        "nets/r50.prototxt",
        "zoo/vgg/deploy.prototxt",
        "zoo/in/v1/deploy.prototxt",
        "o[1].prototxt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_glob_names_models_by_what_the_stars_stand_for(folder):
    assert expand(folder, "", "nets/*.prototxt", "") == [
        ("r18", "nets/r18.prototxt", "nets/r18.caffemodel"),
        ("r50", "nets/r50.prototxt", "nets/r50.caffemodel"),
    ]


def test_a_caffemodel_belongs_to_the_prototxt_with_the_same_parts(folder):
    assert expand(folder, "net-*", "nets/*.prototxt", "weights/*/final.caffemodel")[1] == (
        "net-r50",
        "nets/r50.prototxt",
        "weights/r50/final.caffemodel",
    )
    assert expand(folder, "", "zoo/**/deploy.prototxt", "zoo/**/w.caffemodel") == [
        ("in/v1", "zoo/in/v1/deploy.prototxt", "zoo/in/v1/w.caffemodel"),
        ("vgg", "zoo/vgg/deploy.prototxt", "zoo/vgg/w.caffemodel"),
    ]


def test_other_signs_of_globs_are_themselves(folder):
    assert expand(folder, "", "o[1].proto*", "w") == [("txt", "o[1].prototxt", "w")]


@pytest.mark.parametrize(
    ("name", "prototxt", "caffemodel", "says"),
    [
        ("", "none/*.prototxt", "", "finds no file"),
        ("x", "nets/*.prototxt", "", "finds 2 files, and 'x' names one"),
        ("*", "nets/r18.prototxt", "", "may have a . where prototxt has one"),
        ("", "nets/*.prototxt", "w/*/*.caffemodel", "must have the same"),
    ],
)
def test_globs_that_do_not_fit_together_are_refused(folder, name, prototxt, caffemodel, says):
    with pytest.raises(ValueError, match=says):
        expand(folder, name, prototxt, caffemodel)


def test_a_signature_changes_with_the_file(folder):
    before = signature(folder, "nets/r18.prototxt")
    assert signature(folder, "nets/r18.prototxt") == before
    (folder / "nets/new").write_text("nets/r18.prototxx")  # of the same size
    os.replace(folder / "nets/new", folder / "nets/r18.prototxt")
    assert signature(folder, "nets/r18.prototxt") != before
    assert signature(folder, "none") is None and digest(folder, "none") is None


def test_images_count_by_their_file_or_by_names_and_sizes(folder):
    (folder / "x.npz").write_bytes(b"12")
    assert digest(folder, "npz:x.npz") == hashlib.sha256(b"12").hexdigest()
    before = digest(folder, "folder:nets")
    (folder / "nets/more.png").write_bytes(b"1")
    assert digest(folder, "folder:nets") != before
    before = digest(folder, "folder:nets")
    (folder / "nets/empty").mkdir()
    assert digest(folder, "folder:nets") != before, "it is a class, too"


def test_a_url_is_read_by_fsspec(folder, served):
    place = f"{served}/nets/r18.prototxt"
    assert digest("", place) == hashlib.sha256(b"nets/r18.prototxt").hexdigest()
    assert signature("", place) == signature("", place) is not None
    with local(place) as path:
        assert open(path).read() == "nets/r18.prototxt" and path.endswith("/r18.prototxt")
    assert not os.path.exists(path)


def test_a_url_that_is_gone_is_a_read_error(served):
    with pytest.raises(ReadError, match=f"^{served}/none: cannot be read"), local(f"{served}/none"):
        pass
    assert signature("", f"{served}/none") is None


def test_a_url_of_an_unknown_kind_says_what_to_install():
    pytest.importorskip("fsspec")
    with pytest.raises(ReadError, match=r"fsspec does not open.*deepmerge-caffe\[remote\]"), local("nothing://x/y"):
        pass


def test_a_file_url_may_have_stars(folder):
    pytest.importorskip("fsspec")
    found = expand(folder, "", f"file://{folder}/nets/*.prototxt", "")
    assert [name for name, *_ in found] == ["r18", "r50"]
    assert found[0][1] == f"file://{folder}/nets/r18.prototxt"
