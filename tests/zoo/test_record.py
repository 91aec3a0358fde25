import json
from dataclasses import replace

import pytest

from deepmerge.zoo.record import Failure, Task, is_foreign, read_record, write_failure, write_record

FILES = {"prototxt": "a.prototxt", "caffemodel": "a.caffemodel", "recipe": "r.toml"}


@pytest.fixture
def task(tmp_path) -> Task:
    for name in FILES.values():
        (tmp_path / name).write_text(name)
    return Task("a", str(tmp_path), str(tmp_path / "out/a"), FILES, ("--exact",), {"verify": 1e-5}, 60, None)


def test_a_key_is_of_files_options_checks_and_version(task, tmp_path):
    keys = [task.key(task.digests())]
    for other in (
        replace(task, words=()),
        replace(task, expect={}),
        replace(task, version="0"),
        replace(task, sha256={"prototxt": "0"}),
    ):
        keys.append(other.key(other.digests()))
    (tmp_path / "r.toml").write_text("another")
    keys.append(task.key(task.digests()))
    assert len(set(keys)) == len(keys)


def test_a_key_is_not_of_places_names_or_limits(task, tmp_path):
    moved = replace(task, name="b", out=str(tmp_path / "out/b"), seconds=1, memory=5, threads=9)
    assert moved.key(moved.digests()) == task.key(task.digests())


def test_a_record_fits_while_nothing_changes(task, tmp_path):
    (tmp_path / "out/a").mkdir(parents=True)
    write_record(tmp_path / "out/a", task, task.digests(), {"status": "converted"}, {"signatures": task.signatures()})
    record = read_record(task.out)
    assert record.fits(task, task.signatures()) and record.fits(replace(task, seconds=1), task.signatures())
    assert not record.fits(replace(task, words=()), task.signatures())
    (tmp_path / "r.toml").write_text("another")
    assert not record.fits(task, task.signatures()) and not record.is_of(task, task.digests())


def test_a_failure_fits_while_its_limits_do(task):
    write_failure(task, Failure("time", "it took long", 60.2, b"said"))
    record = read_record(task.out)
    assert record.status == "failed" and record.fits(task, task.signatures())
    assert not record.fits(replace(task, seconds=90), task.signatures())
    assert not record.fits(replace(task, memory=1), task.signatures())


def test_a_file_that_is_missing_is_part_of_the_key(task, tmp_path):
    (tmp_path / "a.caffemodel").unlink()
    write_failure(task, Failure("error", "no such file", 0.1))
    assert read_record(task.out).fits(task, task.signatures())
    (tmp_path / "a.caffemodel").write_text("here")
    assert not read_record(task.out).fits(task, task.signatures())


def test_a_result_outlives_a_file_that_is_missing(task, tmp_path):
    (tmp_path / "out/a").mkdir(parents=True)
    write_record(tmp_path / "out/a", task, task.digests(), {"status": "converted"}, {"signatures": task.signatures()})
    (tmp_path / "r.toml").unlink()
    write_failure(task, Failure("error", "no such file", 0.1))
    assert read_record(task.out).status == "converted"
    (tmp_path / "r.toml").write_text("another")
    write_failure(task, Failure("error", "is no recipe", 0.1))
    assert read_record(task.out).status == "failed"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"version": 1}', '{"version": 2, "status": "converted"}', "\xff", "[" * 10**5]
)
@pytest.mark.parametrize("name", ["result.json", "run.json"])
def test_a_folder_that_is_none_of_ours_has_no_record(task, tmp_path, name, text):
    write_failure(task, Failure("error", "no", 0.1))
    (tmp_path / "out/a" / name).write_bytes(text.encode("latin-1"))
    record = read_record(task.out)
    assert record is None or not record.fits(task, task.signatures())


def test_a_result_of_any_version_is_a_zoos_also_without_its_run(task, tmp_path):
    """It is made again, in its place; what only looks like one is kept."""
    write_failure(task, Failure("error", "no", 0.1))
    result = tmp_path / "out/a/result.json"
    ours = result.read_text()
    result.write_text(json.dumps({**json.loads(ours), "version": 2}))
    assert read_record(task.out) is None and not is_foreign(task.out)
    (tmp_path / "out/a/run.json").unlink()
    assert not is_foreign(task.out)
    result.write_text(ours)
    assert read_record(task.out) is None and not is_foreign(task.out)
    result.write_text('{"version": 1, "status": "failed"}')
    assert is_foreign(task.out)
    result.unlink()
    assert is_foreign(task.out) and not is_foreign(tmp_path / "out/b")
