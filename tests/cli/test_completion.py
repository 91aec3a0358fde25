"""Shell completion: the script, what it completes, and a real bash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from deepmerge.cli import main

ROOT = Path(__file__).resolve().parents[2]


def completed(words: list[str], incomplete: str) -> list[str]:
    """What click completes."""
    found = BashComplete(main, {}, "deepmerge", "_DEEPMERGE_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def test_commands_options_and_values():
    assert completed([], "pro") == ["profile"]
    assert completed(["convert"], "--cal") == ["--calibration", "--calibration-images"]
    assert completed(["convert", "--kernel"], "") == ["keep", "cover"]
    assert completed(["convert", "--absorb"], "lrn,po") == ["lrn,pooling"]
    assert completed(["recover", "--stages"], "lsq,") == [f"lsq,{s}" for s in ("refit", "front", "tail", "distill")]
    assert completed(["plan"], "--help") == ["--help", "--help-all"]


def test_steps_layers_and_types_of_the_network_on_the_command_line(run, mini, tmp_path):
    net = str(mini[0])
    assert completed(["plan", net, "--steps"], "con") == ["conv1", "conv2"]
    assert completed(["convert", *map(str, mini), "--steps"], "conv1,inception_3") == [
        "conv1,inception_3a",
        "conv1,inception_3b",
    ]
    assert completed(["plan", net, "--keep"], "pool1") == ["pool1/3x3_s2", "pool1/norm1"]
    assert completed(["plan", net, "--keep"], "LR") == ["LRN"]
    assert completed(["plan", "none.prototxt", "--steps"], "") == ["all"]
    assert run("convert", *mini, "-o", tmp_path / "out", "--steps", "conv2", "-q").code == 0
    for command in ("eval", "recover", "finetune"):
        assert completed([command, str(tmp_path / "out"), "--steps"], "") == ["all", "conv2"]
        assert completed([command, "nothing", "--steps"], "") == ["all"]


def test_engines_and_targets():
    assert completed(["verify", "--engine"], "o") == ["ort"]
    assert completed(["convert", "--target"], "asc") == ["ascend"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(run, shell):
    done = run("completion", shell)
    assert done.code == 0 and "_DEEPMERGE_COMPLETE" in done.out and f"{shell}_complete" in done.out
    assert json.loads(run("completion", shell, "--json").out) == {
        "version": 1,
        "shell": shell,
        "script": done.out.rstrip("\n") + "\n",
    }


def test_quiet_prints_the_script_too(run):
    assert run("completion", "bash", "-q").out == run("completion", "bash").out != ""


def test_another_shell_is_a_usage_error(run):
    assert run("completion", "csh").code == 2


SESSION = """
source script.sh
COMP_WORDS=(deepmerge convert --rec) COMP_CWORD=2
_deepmerge_completion deepmerge
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(run, tmp_path):
    (tmp_path / "script.sh").write_text(run("completion", "bash").out)
    command = tmp_path / "deepmerge"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deepmerge "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", SESSION], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert done.stdout.split()[:2] == ["--recipe", "--recover"], done.stderr
