import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.cli.test_json import fits
from tests.zoo.conftest import three, trees, write_model  # noqa: F401  (a fixture)
from tests.zoo.processes import descendants, gone


@pytest.fixture
def convert(three, run):  # noqa: F811
    """Words → Done of `deepmerge zoo zoo.toml -o out …` with three models."""
    return lambda *words: run("zoo", three / "zoo.toml", "-o", three / "out", "-j", 2, *words)


def index(folder: Path, name: str = "index.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / "out" / name).read_text().splitlines()]


def statuses(folder: Path, name: str = "index.jsonl") -> dict[str, str]:
    return {entry["name"]: entry["status"] for entry in index(folder, name)}


def spoil(folder: Path, name: str) -> None:
    (folder / "models" / f"{name}.caffemodel").write_text("no network")


def add(folder: Path, text: str) -> None:
    with open(folder / "zoo.toml", "a") as file:
        file.write(text)


def test_all_models_are_converted_and_the_index_says_what_came_of_each(three, convert):  # noqa: F811
    done = convert()
    assert (done.code, done.out) == (0, "3 models: 3 converted\n")
    assert sorted(line.split(",")[0] for line in done.err.splitlines()) == [
        "a: converted",
        "b: converted",
        "c: converted",
    ]
    for number, entry in enumerate(index(three), 1):
        assert (entry["number"], entry["status"], entry["folder"]) == (number, "converted", "abc"[number - 1])
        report = json.loads((three / "out" / entry["folder"] / "report.json").read_text())
        assert entry["before"]["macs"] == report["before"]["macs"] and entry["refusals"] == report["refusals"]
        assert entry["after"]["layers"] < entry["before"]["layers"] and entry["seconds"] > 0 < entry["peak_bytes"]
        assert (three / "out" / entry["report"]).exists()
    assert 'href="b/report.html"' in (three / "out/index.html").read_text()


def test_a_second_run_does_nothing(three, convert):  # noqa: F811
    convert()
    before = {path: path.stat().st_mtime_ns for path in (three / "out").rglob("*") if path.parent.name in "abc"}
    done = convert()
    assert done.code == 0 and done.err == "3 models done before, 0 left to do\n"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_changed_is_converted_again(three, convert):  # noqa: F811
    convert()
    write_model(three / "models", "b", 9)
    (three / "models/c.prototxt").touch()
    before = (three / "out/c/report.json").stat().st_mtime_ns
    done = convert()
    assert "1 model done before, 2 left to do" in done.err
    assert "num_output: 9" in (three / "out/b/deploy.prototxt").read_text()
    assert (three / "out/c/report.json").stat().st_mtime_ns == before, "a file that was only touched has not changed"
    assert "3 models done before" in convert().err


def test_other_options_convert_again(three, convert):  # noqa: F811
    convert()
    add(three, "no_steps = true\n")
    assert "2 models done before, 1 left to do" in convert().err


def test_a_failure_is_a_line_and_stays_until_it_is_retried(three, convert):  # noqa: F811
    spoil(three, "b")
    done = convert()
    reason = "models/b.caffemodel: is text, not a caffemodel"
    assert done.code == 1 and done.out == "3 models: 2 converted, 1 failed\n"
    assert done.err.splitlines()[-1].startswith(f"b: failed: {reason}"), "failures come last"
    assert reason in (three / "out/b/log.txt").read_text()
    assert index(three)[1]["failure"]["kind"] == "error" and index(three)[1]["log"] == "b/log.txt"
    again = convert()
    assert (
        again.code == 1
        and "2 models done before, 1 have failed before (--retry-failed tries again), 0 left to do" in again.err
    )
    assert "b: failed, " in convert("--retry-failed").err
    write_model(three / "models", "b", 4)
    assert convert().code == 0, "a file that changed is tried unasked"


def test_a_result_stays_while_its_model_is_away(three, convert):  # noqa: F811
    convert()
    before, away = trees(three / "out"), (three / "models/b.caffemodel").rename(three / "away")
    done = convert()
    assert done.code == 1 and "models/b.caffemodel: no such file" in done.err
    assert trees(three / "out") == before
    away.rename(three / "models/b.caffemodel")
    assert convert().err == "3 models done before, 0 left to do\n"


def test_a_file_with_another_digest_is_a_failure(three, convert):  # noqa: F811
    add(three, f'sha256.caffemodel = "{"0" * 64}"\n')
    done = convert()
    assert done.code == 1 and "c: failed: models/c.caffemodel: its SHA-256 is " in done.err


def test_what_is_expected_is_checked(three, convert):  # noqa: F811
    add(three, 'expect = {verify = 1e-5, target = "ascend"}\n')
    assert convert().code == 0
    checks = index(three)[2]["checks"]
    assert 0 <= checks["verify"] < 1e-5 and checks["target"] is True
    add(
        three,
        '[[model]]\nname = "d"\nprototxt = "models/a.prototxt"\nexact = false\nexpect.verify = 1e-9\n',
    )
    done = convert()
    assert done.code == 1 and "d: failed: verify: " in done.err and index(three)[3]["failure"]["kind"] == "check"


def test_a_limit_of_time_is_the_manifests(three, convert):  # noqa: F811
    add(three, "limits.seconds = 0.001\n")
    assert "c: failed: it took more than 0.001 s" in convert().err
    text = (three / "zoo.toml").read_text()
    (three / "zoo.toml").write_text(text.replace("0.001", "60"))
    assert convert().code == 0, "a failure does not outlive another limit"


def test_failures_are_said_also_with_quiet(three, convert):  # noqa: F811
    spoil(three, "b")
    done = convert("-q")
    assert (done.code, done.out) == (1, "") and done.err.startswith("b: failed: ") and done.err.count("\n") == 1
    (three / "models/c.prototxt").touch()
    assert convert("-q", "--name", "c").err == ""


def test_fail_fast_stops_at_the_first_failure(three, run):  # noqa: F811
    spoil(three, "a")
    done = run("zoo", three / "zoo.toml", "-o", three / "out", "-j", 1, "--fail-fast")
    assert done.code == 1 and statuses(three)["a"] == "failed" and statuses(three)["c"] == "to do"


def test_names_choose_models(three, convert):  # noqa: F811
    assert convert("--name", "[ab]").code == 0
    assert statuses(three) == {"a": "converted", "b": "converted", "c": "to do"}
    done = convert("--name", "d*")
    assert done.code == 1 and "--name: no model is called 'd*'" in done.line


def test_shards_are_joined(three, convert):  # noqa: F811
    assert convert("--shard", "1/2").code == 0
    assert statuses(three, "index-1-of-2.jsonl") == {"a": "converted", "c": "converted"}
    assert not (three / "out/index.jsonl").exists()
    done = convert("--merge-index")
    assert done.code == 1 and "index-2-of-2.jsonl is missing" in done.err
    assert convert("--shard", "2/2").code == 0
    assert convert("--merge-index").code == 0
    joined = (three / "out/index.jsonl").read_bytes()
    assert convert().code == 0 and (three / "out/index.jsonl").read_bytes() == joined


@pytest.mark.parametrize(
    "words",
    [
        ["--shard", "0/2"],
        ["--shard", "3/2"],
        ["--shard", "x"],
        ["--list", "--check"],
        ["--scheduler", "tcp://x:1", "-j", "2"],
        ["-j", "0"],
        ["--list", "--junit", "x.xml"],
        ["--check", "--markdown", "x.md"],
        ["--merge-index", "--shard", "1/2"],
        ["--merge-index", "--retry-failed"],
    ],
)
def test_usage_errors(convert, words):
    assert convert(*words).code == 2


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_what_no_zoo_has_written_is_never_replaced(three, run, words):  # noqa: F811
    """`init` calls a model by its folder, and OUT may be the folder of the models."""
    write_model(three / "models/resnet", "deploy")
    add(three, '[[model]]\nname = "resnet"\nprototxt = "models/resnet/deploy.prototxt"\n')
    before = trees(three / "models", ())
    done = run("zoo", three / "zoo.toml", "-o", three / "models", *words)
    assert done.code == 1 and f"{three}/models/resnet: is there already, and is not the result of a zoo" in done.line
    assert trees(three / "models", ()) == before
    assert run("zoo", three / "zoo.toml", "-o", three / "models", "--list").code == 0


@pytest.mark.parametrize(
    "name, text",
    [
        ("index.html", "<h1>mine</h1>"),
        ("index.jsonl", '{"version": 1}\n'),
        ("b/result.json", '{"version": 1, "status": "converted"}'),
    ],
)
def test_a_file_that_is_called_as_the_zoos_own_stays(three, convert, name, text):  # noqa: F811
    (three / "out/b").mkdir(parents=True)
    (three / "out" / name).write_text(text)
    done = convert()
    assert done.code == 1 and f"/out/{name.partition('/')[0]}: is there already, and is not the result" in done.line
    assert trees(three / "out", ()) == {name: text.encode()}


def test_joining_shards_replaces_no_page_of_mine(three, convert):  # noqa: F811
    (three / "out").mkdir()
    (three / "out/index.html").write_text("<h1>mine</h1>")
    assert convert("--shard", "1/2").code == convert("--shard", "2/2").code == 0, "they write no page"
    assert "index.html: is there already" in convert("--merge-index").line
    assert (three / "out/index.html").read_text() == "<h1>mine</h1>"


def test_an_out_that_is_a_file_is_refused_at_once(three, run):  # noqa: F811
    (three / "file").touch()
    done = run("zoo", three / "zoo.toml", "-o", three / "file")
    assert done.code == 1 and done.line.endswith("file: is not a folder; give another -o")


def test_a_shard_without_models_writes_its_part(three, convert):  # noqa: F811
    done = convert("--shard", "5/20")
    assert (done.code, done.out) == (0, "0 models: none\n")
    assert index(three, "index-5-of-20.jsonl") == []


def test_a_part_that_no_zoo_has_written_is_said(three, convert):  # noqa: F811
    (three / "out").mkdir()
    (three / "out/index-1-of-1.jsonl").write_text('{"version": 1, "number": 1}\n')
    done = convert("--merge-index")
    assert done.code == 1 and "index-1-of-1.jsonl:1: is not a line of an index" in done.line


def test_an_out_is_needed(three, run):  # noqa: F811
    assert run("zoo", three / "zoo.toml").code == 2


def test_a_manifest_with_errors_converts_nothing(three, convert):  # noqa: F811
    add(three, "exacct = true\nx = 1\n")
    done = convert()
    assert done.code == 1 and "unknown key 'exacct'; did you mean 'exact'" in done.line and "1 more" in done.line
    assert not (three / "out").exists()
    done = convert("--check")
    assert done.code == 1 and len(done.out.splitlines()) == 2


def test_check_says_which_files_are_missing(three, run):  # noqa: F811
    assert run("zoo", three / "zoo.toml", "--check").out == "3 models, and nothing is wrong with the manifest\n"
    (three / "models/b.caffemodel").unlink()
    done = run("zoo", three / "zoo.toml", "--check")
    assert done.code == 1 and done.out.endswith("model 'b', caffemodel: models/b.caffemodel is not there\n")
    assert run("zoo", three / "zoo.toml", "--check", "-q").line + "\n" == done.out
    add(three, "exacct = true\n")
    done = run("zoo", three / "zoo.toml", "--check", "-q")
    assert "unknown key 'exacct'" in done.err and "models/b.caffemodel is not there" in done.err


def test_a_manifest_may_be_called_init(three, run, monkeypatch):  # noqa: F811
    (three / "zoo.toml").rename(three / "init")
    monkeypatch.chdir(three)
    assert run("zoo", "./init", "--check").out == "3 models, and nothing is wrong with the manifest\n"


def test_list_and_dry_run_write_nothing(three, convert):  # noqa: F811
    assert "would be converted, 0 would not" in convert("--dry-run").out
    assert not (three / "out").exists()
    spoil(three, "b")
    convert()
    before = trees(three / "out", ())
    lines = convert("--list").out.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        ["a", "done", "models/a.prototxt"],
        ["b", "failed", "models/b.prototxt"],
        ["c", "done", "models/c.prototxt"],
    ]
    assert convert("--dry-run").out == "0 models would be converted, 3 would not (--dry-run)\n"
    assert [entry["name"] for entry in json.loads(convert("--dry-run", "--retry-failed", "--json").out)["models"]] == [
        "b"
    ]
    assert trees(three / "out", ()) == before


def test_json(convert):
    found = json.loads(convert("--json").out)
    assert (
        found["version"] == 1
        and found["counts"] == {"converted": 3}
        and [m["name"] for m in found["models"]] == ["a", "b", "c"]
    )


def test_the_index_fits_its_schema(three, convert):  # noqa: F811
    jsonschema = pytest.importorskip("jsonschema")
    spoil(three, "b")
    add(
        three,
        'expect = {verify = 1e9}\ntags = ["x"]\nlicence = "MIT"\nsource = "here"\nexact = false\n',
    )
    convert("--name", "[bc]")
    schema = json.loads((Path(__file__).parents[2] / "docs/schemas/zoo-index.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    lines = index(three)
    assert [line["status"] for line in lines] == ["to do", "failed", "converted"]
    for line in lines:
        jsonschema.validate(line, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**line, "surprise": 1}, schema)


@pytest.mark.parametrize("words", [[], ["--list"], ["--dry-run"], ["--check"]], ids=" ".join)
def test_json_fits_its_schema(convert, words):
    fits("zoo", json.loads(convert("--json", *words).out))


def test_a_model_is_recovered(three, convert, models):  # noqa: F811
    pixels = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), np.uint8)
    np.savez(three / "images.npz", images=pixels)
    text = f'version = 1\n[[model]]\nprototxt = "{models}/inception_mini/inception_mini.prototxt"\n'
    (three / "zoo.toml").write_text(text + 'steps = "conv1"\nrecover = "npz:images.npz"\nrecover_stages = ["lsq"]\n')
    done = convert()
    assert done.code == 0, done.err
    assert "recovery" in json.loads((three / "out/inception_mini/report.json").read_text())
    assert (
        three / "out/inception_mini/report.html"
    ).exists() and convert().err == "1 model done before, 0 left to do\n"
    np.savez(three / "images.npz", images=pixels + 1)
    assert "inception_mini: converted" in convert().err, "other images, another result"


def test_init_finds_the_pairs_in_a_folder(three, run):  # noqa: F811
    for name in (
        "res/deploy.prototxt",
        "res/train_val.prototxt",
        "res/solver.prototxt",
        "res/iter_100.caffemodel",
        "alone.caffemodel",
    ):
        (three / "models" / name).parent.mkdir(exist_ok=True)
        (three / "models" / name).touch()
    done = run("zoo", "init", three / "models")
    assert done.code == 0
    (three / "found.toml").write_text(done.out)
    found = run("zoo", three / "found.toml", "--list", "-o", three / "out").out.splitlines()[2:]
    assert [line.split()[0] for line in found] == ["a", "b", "c", "res"]
    assert f"res/deploy.prototxt  {three}/models/res/iter_100.caffemodel" in found[3]
    assert f"# no prototxt was found for {three}/models/alone.caffemodel" in done.out


def test_init_names_models_whose_folders_differ(tmp_path, run):
    for name in ("A", "a", "x_y", "x/y", "x/z"):
        write_model(tmp_path / "m" / Path(name).parent, Path(name).name)
    (tmp_path / "found.toml").write_text(run("zoo", "init", tmp_path / "m").out)
    done = run("zoo", tmp_path / "found.toml", "--check")
    assert (done.code, done.out) == (0, "5 models, and nothing is wrong with the manifest\n")


def test_init_writes_a_manifest_that_can_be_read_back(tmp_path):
    """Into a file whose encoding the system takes for another, and with --quiet."""
    write_model(tmp_path / "m", "größe")
    command = [sys.executable, "-m", "deepmerge", "zoo", "init", "-q", str(tmp_path / "m")]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 0 and 'name = "größe"' in done.stdout.decode("utf-8")


def test_init_looks_into_a_folder_that_is_a_link(tmp_path, run):
    write_model(tmp_path / "away", "net")
    (tmp_path / "m").mkdir()
    (tmp_path / "m/link").symlink_to(tmp_path / "away")
    assert f"{tmp_path}/m/link/net.caffemodel" in run("zoo", "init", tmp_path / "m").out


def test_init_of_what_is_no_folder(run, tmp_path):
    assert run("zoo", "init", tmp_path / "none").code == 1
    assert run("zoo", "init", tmp_path).line.endswith("holds no caffemodel; give a folder with .caffemodel files in it")
    assert run("zoo", "init").code == 2


def test_odd_names_are_safe_on_a_terminal_and_on_the_disk(three, convert):  # noqa: F811
    add(three, '[[model]]\nname = "../\\u001b[31m\\n<b>"\nprototxt = "models/a.prototxt"\n')
    done = convert()
    assert done.code == 0 and r"../\x1b[31m\n<b>: converted" in done.err
    assert {path.name for path in (three / "out").iterdir() if path.is_dir()} == {
        "a",
        "b",
        "c",
        index(three)[3]["folder"],
    }
    assert not (three / "31m").exists()


def test_junit_and_markdown_say_the_same(three, convert, monkeypatch):  # noqa: F811
    spoil(three, "b")
    add(three, '[[model]]\nname = "x|\\u001b<y>"\nprototxt = "models/a.prototxt"\n')
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(three / "step.md"))
    assert convert("--junit", three / "zoo.xml", "--name", "[abx]*").code == 1
    suite = ElementTree.parse(three / "zoo.xml").getroot().find("testsuite")
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "skipped": "1",
    }
    assert [case.get("name") for case in suite] == ["a", "b", "c", r"x|\x1b<y>"]
    assert "is text, not a caffemodel" in suite[1].find("failure").get("message")
    text = (three / "step.md").read_text()
    assert "4 models: 2 converted, 1 failed, 1 to do" in text and "| b | failed | models/b.caffemodel: is text" in text
    assert r"| x\|\\x1b\<y> |" in text
    assert convert("--markdown", three / "own.md").code == 1
    assert (three / "own.md").read_text().startswith("## zoo\n\n4 models: 3 converted, 1 failed")
    assert (three / "step.md").read_text() == text


# -- kills -----------------------------------------------------------------------------------------


def start(folder: Path, err: int = subprocess.DEVNULL) -> subprocess.Popen:
    words = ["zoo", "zoo.toml", "-o", "out", "-j", "2", "--retry-failed"]
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "deepmerge", *words]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background jobs ignore it
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=err, text=True, **heard)


def kill_some(folder: Path, times: int, seed: int = 3) -> None:
    """Run the zoo, delete some results, and kill the command or one of its processes, so many times."""
    draw = random.Random(seed)
    for _ in range(times):
        command = start(folder)
        while not list((folder / "out").glob(".*")) and command.poll() is None:  # until a model is being written
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        victim = draw.choice([command.pid, *descendants(command.pid)])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if victim == command.pid or draw.random() < 0.5:
            command.kill()
        command.wait()
        made = sorted(path.name for path in (folder / "out").glob("[a-z]*/"))
        for name in made[: draw.randrange(3)]:
            shutil.rmtree(folder / "out" / name)


def after_kills(three: Path, times: int) -> None:  # noqa: F811
    for width in range(6, 14):
        write_model(three / "models", f"m{width}", width)
    add(three, '[[model]]\nprototxt = "models/m*.prototxt"\n')
    assert start(three).wait() == 0
    undisturbed = trees(three / "out")
    kill_some(three, times)
    assert start(three).wait() == 0
    assert trees(three / "out") == undisturbed
    assert not list((three / "out").glob(".*")), "no half a folder is left"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_kills_leave_nothing_and_change_nothing(three):  # noqa: F811
    after_kills(three, 4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_twenty_kills_leave_nothing_and_change_nothing(three):  # noqa: F811
    after_kills(three, 20)


def test_a_signal_ends_the_run_and_its_processes(three):  # noqa: F811
    for width in range(6, 30):
        write_model(three / "models", f"m{width}", width)
    add(three, '[[model]]\nprototxt = "models/m*.prototxt"\n')
    command = start(three, subprocess.PIPE)
    while not list((three / "out").glob("[a-z]*/")):
        time.sleep(0.02)
    found = descendants(command.pid)
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=60)[1].splitlines()[-1].startswith("deepmerge: interrupted; what is done stays")
    assert command.returncode == 130
    assert found and all(gone(pid) for pid in found)
    assert not list((three / "out").glob(".*")), "no half a folder is left"
    assert start(three).wait() == 0


def test_an_interrupt_while_the_index_is_written_says_what_stays(convert, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepmerge.zoo.pages.write_index_page", interrupted)
    done = convert()
    assert done.code == 130 and done.err.splitlines()[-1].startswith("deepmerge: interrupted; what is done stays")


def test_results_of_other_options_are_still_to_do(three, convert):  # noqa: F811
    convert()
    write_model(three / "models", "b", 9)
    add(three, "no_steps = true\n")  # of the last model, c
    convert("--name", "a")
    assert statuses(three) == {"a": "converted", "b": "to do", "c": "to do"}
    assert "before" not in index(three)[1]


def test_init_takes_no_options_of_a_run(run, three):  # noqa: F811
    for words in (("-o", "zoo.toml"), ("-j", 2), ("--check",)):
        assert "has no effect with init" in run("zoo", "init", three / "models", *words).err
    found = json.loads(run("zoo", "init", three / "models", "--json").out)
    assert found["version"] == 1 and found["manifest"] + "\n" == run("zoo", "init", three / "models").out + "\n"


def test_check_finds_options_that_exclude_each_other(three, run):  # noqa: F811
    add(three, "no_fit = true\n")
    done = run("zoo", three / "zoo.toml", "--check")
    assert done.code == 1 and "--no-fit has no effect without --data" in done.out


def test_images_are_prepared_as_the_train_val_beside_says(three, convert):  # noqa: F811
    for ending in ("prototxt", "caffemodel"):
        (three / "models" / f"a.{ending}").rename(three / "models" / f"deploy.{ending}")
    text = (three / "zoo.toml").read_text().replace("models/a.", "models/deploy.")
    (three / "zoo.toml").write_text(text)
    (three / "models" / "train_val.prototxt").write_text('layer { name: "d" type: "Data" top: "data" top: "label" }')
    convert()
    assert "3 models done before" in convert().err
    with open(three / "models" / "train_val.prototxt", "a") as file:
        file.write("# another mean\n")
    assert "2 models done before, 1 left to do" in convert().err
