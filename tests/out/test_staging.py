"""OUT appears whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from deepmerge.errors import DeepmergeError, EmitError
from deepmerge.names import encoded
from deepmerge.out.staging import check_free, check_outside, replacing, scratch, staged, write_whole


def ours(out: Path, text: str = "old") -> Path:
    """A folder as convert leaves one."""
    out.mkdir(parents=True)
    (out / "report.json").write_text(text)
    return out


def write(out: Path, force: bool = False) -> None:
    with staged(out, force) as folder:
        (folder / "steps").mkdir()
        (folder / "report.json").write_text("new")
        assert folder.parent == out.parent and not (out / "steps").exists()


def test_a_new_folder_and_its_parents(tmp_path):
    write(tmp_path / "a/b/out")
    assert (tmp_path / "a/b/out/report.json").read_text() == "new"
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["out"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_a_parent_that_another_run_deletes_meanwhile(tmp_path, monkeypatch):
    make, left = tempfile.mkdtemp, [1, 1]

    def mkdtemp(**name):
        if left:  # a run that has made the parent too, and fails now
            left.pop()
            Path(name["dir"]).rmdir()
        return make(**name)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with staged(tmp_path / "zoo/a") as stage:
        (stage / "x").write_text("1")
    assert (tmp_path / "zoo/a/x").read_text() == "1" and not left


def test_a_parent_that_never_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: open(tmp_path / "none"))
    with pytest.raises(EmitError, match="zoo/a: cannot be written: No such file or directory; nothing was written"):
        staged(tmp_path / "zoo/a").__enter__()
    assert not (tmp_path / "zoo").exists()


def test_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("out"))
    assert (tmp_path / "out/report.json").exists()


def test_force_replaces_whole(tmp_path):
    out = ours(tmp_path / "out")
    (out / "left_over").write_text("")
    write(out, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["report.json", "steps"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("kind", "force", "message"),
    [
        ("folder", False, "out: exists already; give another folder, or --force to replace it"),
        ("file", False, "out: exists already"),
        ("broken link", False, "out: exists already"),
        ("file", True, "out: is not a folder, and --force replaces folders only"),
        ("link to a folder", True, "out: is not a folder"),
        ("broken link", True, "out: is not a folder"),
        ("home", True, "out: is a home folder"),
    ],
)
def test_what_stands_in_the_way_stays(kind, force, message, tmp_path, monkeypatch):
    out = tmp_path / "out"
    if kind == "folder":
        ours(out)
    elif kind == "file":
        out.write_text("mine")
    elif kind == "home":
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
        monkeypatch.setenv("HOME", str(out))
    else:
        if kind == "link to a folder":
            ours(tmp_path / "target")
        out.symlink_to(tmp_path / "target")
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")}
    with pytest.raises(EmitError, match=message) as caught:
        write(out, force)
    assert "\n" not in str(caught.value)
    assert {p: p.lstat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("out", [".", "", "..", "/", "../{}"])
def test_the_current_folder_is_no_out(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmitError, match="is the current folder, or holds it"):
        check_free(out.format(tmp_path.name), force=True)


def test_a_folder_that_holds_an_input_stays(tmp_path):
    """A conversion's own files may be converted again: their original is elsewhere."""
    file = tmp_path / "models/deep/net.prototxt"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(
        EmitError, match="models: holds .*net.prototxt, which --force would delete; give another folder$"
    ):
        check_free(tmp_path / "models", True, (tmp_path / "none", file))
    check_free(tmp_path / "new", True, (file,))
    out = ours(tmp_path / "out")
    for name in ("deploy.prototxt", "mine.prototxt"):
        (out / name).write_text("a network")
    check_free(out, True, (out / "deploy.prototxt",))
    with pytest.raises(EmitError, match="out: holds .*mine.prototxt"):
        check_free(out, True, (out / "mine.prototxt",))
    with pytest.raises(EmitError, match="models: holds .*models, which"):
        check_free(tmp_path / "models", True, (tmp_path / "models",))  # a folder of images


def test_a_folder_that_holds_the_one_that_is_copied_stays(tmp_path):
    """A conversion may be replaced by what is made of it: its original is elsewhere."""
    out = ours(tmp_path / "runs/out")
    check_outside(tmp_path / "other", out)
    check_outside(out, out)
    with pytest.raises(EmitError, match="runs: holds .*report.json, which --force would delete"):
        check_outside(tmp_path / "runs", out)
    (out / "photos").mkdir()
    with pytest.raises(EmitError, match="out: holds .*photos, which --force would delete"):
        check_outside(out, out, (out / "photos",))


def test_the_error_has_the_folder_and_the_remedy(tmp_path):
    with pytest.raises(EmitError) as caught:
        check_free(ours(tmp_path / "out"))
    assert caught.value.file == tmp_path / "out"
    assert caught.value.remedy == "give another folder, or --force to replace it"


def test_an_empty_folder_may_be_taken_with_force(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", force=True)
    assert (tmp_path / "out/report.json").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), DeepmergeError("no"), ValueError("bug"), KeyboardInterrupt()],
)
@pytest.mark.parametrize("there", [True, False])
def test_any_error_leaves_everything_as_it_was(error, there, tmp_path):
    out = ours(tmp_path / "a/out") if there else tmp_path / "a/out"
    before = sorted(tmp_path.rglob("*"))
    expected = EmitError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), staged(out, force=True) as folder:
        (folder / "half").write_text("written")
        raise error
    assert sorted(tmp_path.rglob("*")) == before
    assert not there or (out / "report.json").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_move_that_fails_brings_the_old_folder_back(error, tmp_path, monkeypatch):
    out, real = ours(tmp_path / "out"), os.rename

    def rename(old, new):
        if str(new) == str(out) and str(old).endswith(".partial"):
            raise error
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(EmitError if isinstance(error, OSError) else KeyboardInterrupt):
        write(out, force=True)
    assert (out / "report.json").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmitError, match="file/deep/out: cannot be written: Not a directory"):
        write(tmp_path / "file/deep/out")


def test_a_name_that_is_too_long(tmp_path):
    write(tmp_path / ("x" * 250))
    with pytest.raises(EmitError, match="cannot be written: File name too long"):
        write(tmp_path / ("x" * 300))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB; it takes the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"mounting takes root: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk(there, small_disk, models, tmp_path):
    from tests.conversion import Job, convert

    mini = models / "inception_mini"
    job = Job(mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel", small_disk / "out", force=True)
    if there:
        ours(small_disk / "out")
    with pytest.raises(
        EmitError, match=r"disk/out: cannot be written: No space left on device; free some space, or write elsewhere"
    ) as caught:
        convert(job)
    assert "\n" not in str(caught.value)
    assert [str(p.relative_to(small_disk)) for p in small_disk.rglob("*")] == (
        ["out", "out/report.json"] if there else []
    )


def test_a_read_only_disk(small_disk):
    ours(small_disk / "out")
    done = subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting takes root: {done.stderr.strip()}")
    for out, force in ((small_disk / "out", True), (small_disk / "new", False)):
        with pytest.raises(
            EmitError, match="cannot be written: Read-only file system; the disk is read-only; write elsewhere"
        ):
            write(out, force)
    assert (small_disk / "out/report.json").read_text() == "old"


def test_no_permission(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):  # root may write everywhere
        monkeypatch.setattr("tempfile.mkdtemp", _refuse)
    with pytest.raises(EmitError, match="cannot be written: Permission denied; give a folder in which you may write"):
        write(closed / "out")
    assert list(closed.iterdir()) == []


def _refuse(**_):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_written_whole(tmp_path):
    for text in ("old", "new, h\xe9"):
        write_whole(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == "new, h\xe9".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_links_and_pipes_stay_what_they_are(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for text in ("old", "new"):
        write_whole(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == text
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "text")
    assert os.read(reader, 9) == b"text" and (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_a_files_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("aside", [None, "other"])
def test_a_file_that_is_not_finished_leaves_the_old_one(error, aside, tmp_path):
    (tmp_path / "a").write_text("old")
    aside = None if aside is None else tmp_path / aside
    with pytest.raises(type(error)), replacing(tmp_path / "a", aside) as partial:
        partial.write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_file_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(EmitError, match="none/a: cannot be written: No such file or directory; nothing was written"):
        write_whole(tmp_path / "none/a", "")


def test_names_that_are_not_utf8_keep_their_bytes():
    name = b"conv\xff1 \xe9"
    assert encoded(name.decode("utf-8", "surrogateescape")) == name
    assert encoded("\ud800 \udc7f \udd00") == "\ufffd \ufffd \ufffd".encode()


def test_a_scratch_folder_goes_away(tmp_path):
    with scratch(tmp_path / "deep/er/out") as folder:
        assert folder.parent == tmp_path
        (folder / "a").write_text("")
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path / "out"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_another_run_has_written_meanwhile_stays(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        EmitError, match="out: exists already; give another folder, or --force to replace it; nothing was written"
    ):
        with staged(out) as folder:
            (folder / "mine").touch()
            out.mkdir()
            (out / "theirs").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["theirs"]
    with staged(out, force=True) as folder:
        (folder / "mine").touch()
    assert [path.name for path in out.iterdir()] == ["mine"]
