"""What holds for every command: help, exit codes, where what is printed, and what becomes of errors."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import click
import pytest

from deepmerge import __version__
from deepmerge.cli import main
from tests.cli.listing import commands, missing_from, options

NAMES = "convert recover finetune plan inspect check verify eval table profile bench report zoo passes doctor completion".split()
COMMON = {"--json", "--quiet", "--verbose", "--debug"}
PLANNING = set("--exact --steps --absorb --keep --width --kernel --init --tucker --rank".split())
CONVERT = set(
    "--out --recipe --emit --train-val --train-source --test-source --solver --no-steps --dry-run --check --strict --force".split()
)


def start(*words, **more) -> subprocess.Popen:
    """`python -m deepmerge` in a process of its own."""
    command = [sys.executable, "-m", "deepmerge", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


# -- help ------------------------------------------------------------------------------------------


def test_the_commands_in_order():
    assert list(commands()) == NAMES


def test_help_lists_every_command(run):
    done = run("--help")
    assert done.code == 0 and done.err == ""
    shown = [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines() if line[2:3].strip()]
    assert shown == NAMES
    assert run("-h").out == done.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example_and_all_its_options(run, name):
    done = run(name, "--help-all")
    assert done.code == 0
    assert f"  deepmerge {name}" in done.out.split("Example")[1]
    assert commands()[name].short_help
    assert COMMON <= {spelt[-1] for spelt in options(name)}
    for spelt in options(name):
        assert all(word in done.out for word in spelt)


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", [None, *NAMES])
def test_help_fits_on_a_screen(run, name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    done = run(*([name] if name else []), "--help")
    assert len(done.out.splitlines()) <= 40
    assert max(map(len, done.out.splitlines())) <= 110  # examples are not wrapped


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_use_options_that_help_lists(run, name):
    text, _, listed = run(name, "--help").out.partition("\nOptions:\n")
    used = set(re.findall(r" (--?[a-z][a-z-]*)", text.partition("Examples:")[2]))
    assert used <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", listed))


def test_the_top_level_takes_help_all(run):
    done = run("--help-all")
    assert (done.code, done.err) == (0, "") and done.out == run("--help").out and "--help-all" in done.out


def test_help_all_adds_the_other_options_under_headings(run):
    short, full = run("convert", "--help").out, run("convert", "--help-all").out
    assert "--crop" not in short and "--help-all" in short and "\nImages:\n" not in short
    for heading in ("Options", "More options", "Recovery", "Images"):
        assert f"\n{heading}:\n" in full
    assert "--crop" in full.split("\nImages:\n")[1]
    assert "--exact" in full.split("\nOptions:\n")[1].split("\nMore options:\n")[0]


def test_options_of_the_contract():
    assert PLANNING | CONVERT <= {spelt[-1] for spelt in options("convert")}
    assert PLANNING | {"--write"} <= {spelt[-1] for spelt in options("plan")}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_does(name):
    assert all(param.help for param in commands()[name].params if isinstance(param, click.Option))


def test_what_a_text_leaves_out_is_found():
    everything = " ".join([*(f"deepmerge {n}" for n in NAMES), *(o[-1] for n in NAMES for o in options(n))])
    assert missing_from(everything) == []
    assert missing_from(everything.replace("--tucker", "").replace("deepmerge plan", "")) == [
        "deepmerge plan",
        "--tucker",
    ]


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in NAMES)], ids=" ".join)
def test_help_loads_nothing_that_takes_time(words):
    program = f"from deepmerge.cli import main; main({words!r}, standalone_mode=False)"
    report = "import sys; print('loaded:', *{'numpy', 'onnx', 'onnxruntime', 'rich', 'google.protobuf', 'scipy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_version(run):
    assert run("--version").out == f"deepmerge, version {__version__}\n"


def test_python_m_deepmerge():
    done = start("passes", "--json")
    out, err = done.communicate()
    assert done.returncode == 0 and err == ""
    assert json.loads(out)
    done = start("nonsense")
    assert "Usage: deepmerge" in done.communicate()[1] and done.returncode == 2


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["plan"],
        ["convert", "a.prototxt"],
        ["convert", "a.prototxt", "a.caffemodel"],  # no -o
        ["inspect", "a", "b", "c"],
        ["plan", "a", "--nonsense"],
        ["passes", "more"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_2_and_show_the_way(run, words):
    done = run(*words)
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("Usage: deepmerge") and "Error: " in done.err


# -- files that will not do ------------------------------------------------------------------------


def cut(pair: tuple[Path, Path]) -> Path:
    pair[1].write_bytes(pair[1].read_bytes()[: pair[1].stat().st_size // 2])
    return pair[1]


def of_another_network(pair):
    text = pair[0].read_text().replace("num_output: 48", "num_output: 47", 1)
    pair[0].write_text(text)
    return pair[1]


def with_a_typo(pair):
    pair[0].write_text(pair[0].read_text().replace("kernel_size: 3", "kernel_size 3", 1))
    return pair[0]


def without_a_brace(pair):
    pair[0].write_text(pair[0].read_text().rstrip().removesuffix("}"))
    return pair[0]


def swapped(pair):
    a, b = (file.read_bytes() for file in pair)
    pair[0].write_bytes(b)
    pair[1].write_bytes(a)
    return pair[0]


def emptied(which):
    def spoil(pair):
        pair[which].write_bytes(b"")
        return pair[which]

    return spoil


def removed(which):
    def spoil(pair):
        pair[which].unlink()
        return pair[which]

    return spoil


def a_folder(which):
    def spoil(pair):
        pair[which].unlink()
        pair[which].mkdir()
        return pair[which]

    return spoil


def a_pointer(pair):
    pair[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return pair[1]


SPOILED = {
    "weights cut short": cut,
    "another network's weights": of_another_network,
    "a typo": with_a_typo,
    "a brace missing": without_a_brace,
    "files swapped": swapped,
    "empty prototxt": emptied(0),
    "empty caffemodel": emptied(1),
    "no prototxt": removed(0),
    "no caffemodel": removed(1),
    "a folder for a prototxt": a_folder(0),
    "a folder for a caffemodel": a_folder(1),
    "a Git LFS pointer": a_pointer,
}


@pytest.mark.parametrize(
    "command", [["convert", "-o", "out"], ["plan", "--write", "r.toml"], ["inspect"]], ids=lambda c: c[0]
)
@pytest.mark.parametrize("how", SPOILED)
def test_a_wrong_file_is_one_line_that_names_it(run, pair, tmp_path, monkeypatch, how, command):
    monkeypatch.chdir(tmp_path)
    named = SPOILED[how](pair)
    before = sorted(tmp_path.rglob("*"))
    done = run(command[0], *pair, *command[1:])
    assert done.code == 1
    assert done.line.startswith("deepmerge: ") and str(named) in done.line
    assert len(done.line) < 500 and "bug" not in done.line and "Traceback" not in done.line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_may_not_be_read(run, pair):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    pair[0].chmod(0)
    assert "may not be read" in run("inspect", *pair).line


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_may_not_be_read_is_no_wrong_usage(name, mini, monkeypatch):
    """Reading it says so, in one line."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for param in commands()[name].params:
        if isinstance(param.type, click.Path):
            assert Path(param.type.convert(str(mini[0]), param, None)) == mini[0]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--debug"]], ids=["", "debug"])
def test_the_traceback_only_with_debug(run, tmp_path, words):
    done = run("inspect", tmp_path / "none", *words)
    assert done.code == 1 and done.out == ""
    assert ("Traceback" in done.err) == bool(words)
    assert done.err.splitlines()[-1] == f"deepmerge: {tmp_path / 'none'}: no such file"


def raising(error):
    def summary(*_):
        raise error

    return summary


@pytest.mark.parametrize(
    "error, code, expected",
    [
        (
            ZeroDivisionError("division by zero"),
            1,
            "a bug in deepmerge (ZeroDivisionError: division by zero); run again with --debug",
        ),
        (ZeroDivisionError("two\nlines"), 1, "a bug in deepmerge (ZeroDivisionError: two lines)"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted; the output was not written"),
        (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
        (OSError(28, "No space left on device"), 1, "the output: No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_not_foreseen_is_one_line_too(run, mini, monkeypatch, error, code, expected):
    monkeypatch.setattr("deepmerge.api.network.summary", raising(error))
    done = run("inspect", mini[0])
    assert done.code == code
    assert done.line.startswith(f"deepmerge: {expected}")


# -- streams ---------------------------------------------------------------------------------------


def test_a_reader_that_has_enough_is_no_error(models):
    done = start("inspect", models / "resnet152/deploy.prototxt", "--json")
    assert done.stdout.readline() == "{\n"
    done.stdout.close()
    assert done.stderr.read() == ""
    assert done.wait() in (0, 1)  # 0 if the pipe had room for all of it


def test_a_reader_that_has_enough_gets_the_files_all_the_same(mini, tmp_path):
    done = start("convert", *mini, "-o", tmp_path / "out")
    done.stdout.close()
    assert done.stderr.read() == ""
    assert done.wait() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_for_stdout():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deepmerge", "passes"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "deepmerge: the output: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "koi8-r"])
def test_a_terminal_that_has_few_letters(tmp_path, mini, encoding):
    net = tmp_path / "net.prototxt"
    net.write_text(mini[0].read_text().replace("conv1/3x3", "größe"), encoding="utf-8")
    few = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = start("inspect", net, env=few)
    out, err = done.communicate()
    assert done.returncode == 0 and err == ""
    if encoding == "koi8-r":
        assert "gr\\xf6\\xdfe" in out and "1\\xd73" in out
    done = start("inspect", net, "--json", env=few)
    assert "größe" in [layer["name"] for layer in json.loads(done.communicate()[0])["layer_costs"]]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_kill_unwinds(tmp_path, name):
    """The command hangs on a FIFO that nobody writes; what it does in `finally` is done, and no traceback shown."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs here")
    fifo, number = tmp_path / "net.prototxt", getattr(signal, name)
    os.mkfifo(fifo)
    done = start("inspect", fifo, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    with writing_end(fifo, done):
        assert ended_by(done, number) == 128 + number
    told = "deepmerge: interrupted; the output was not written\n" if name == "SIGINT" else ""
    assert done.communicate() == ("", told)


def ended_by(process: subprocess.Popen, number: int) -> int:
    """Send the signal until the process ends: Python handles one that comes just before a read when the read is over."""
    for _ in range(20):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=1)
    return process.wait(timeout=0)


def writing_end(fifo: Path, reader: subprocess.Popen) -> BinaryIO:
    """Open the FIFO as soon as the process reads it."""
    while True:
        try:
            return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "wb")
        except OSError as error:
            assert error.errno == errno.ENXIO  # nobody reads it yet
        assert reader.poll() is None, reader.communicate()
        time.sleep(0.01)


CLOSED = ["", "0", "1", "2", "12", "012"]  # the standard streams' numbers


def closing(streams: str, *words) -> subprocess.CompletedProcess[str]:
    """The command in a shell that has closed these streams."""
    command = [sys.executable, "-m", "deepmerge", *map(str, words)]
    closed = "".join(f" {number}>&-" for number in streams)
    return subprocess.run(["sh", "-c", f'"$@"{closed}', "sh", *command], capture_output=True, text=True)


@pytest.mark.parametrize("streams", CLOSED)
def test_closed_streams_are_no_error(mini, tmp_path, streams):
    done = closing(streams, "convert", *mini, "-o", tmp_path / "out")
    assert done.returncode == 0 and re.fullmatch(r"(next: .*\n)?", done.stderr)
    assert bool(done.stdout) == ("1" not in streams)
    assert (tmp_path / "out/report.json").stat().st_size


def test_closed_streams_leave_the_exit_code_of_an_error(tmp_path):
    assert closing("012", "plan", tmp_path / "none.prototxt").returncode == 1
    assert closing("012", "plan", "--none").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("streams", ["1", "2", "012"])
def test_closed_streams_change_no_commands_exit_code(mini, tmp_path, name, streams):
    out = tmp_path / "out"
    assert closing("", "convert", *mini, "-o", out).returncode == 0
    words = {
        "convert": [*mini, "-o", tmp_path / "new"],
        "plan": [mini[0]],
        "inspect": mini,
        "verify": [*mini, *mini],
        "profile": [*mini, "--repeat", 2],
        "bench": [*mini, "--repeat", 2],
        "report": [out],
        "passes": [],
        "doctor": [],
        "completion": ["bash"],
    }.get(name, ["--help"])
    assert closing(streams, name, *words).returncode == 0


@pytest.mark.parametrize("words", [["passes"], ["plan"], ["inspect"], ["convert", "--dry-run"]], ids=lambda w: w[0])
def test_quiet_says_nothing(run, mini, words):
    files = [] if words == ["passes"] else mini
    done = run(*words, *files, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert run(*words, *files).out
    assert json.loads(run(*words, *files, "-q", "--json").out)


def test_commands_run_in_threads(mini):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["plan", str(mini[0]), "-q"], standalone_mode=False)))
    thread.start()
    thread.join()
    assert codes == [None]
