"""Child processes: what they answer, and what is said when they die."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from deepmerge.engines.process import Child, environment, inherited
from deepmerge.errors import EngineError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ends processes with signals")

ECHO = "import sys\nfor line in sys.stdin:\n    print(line.strip()[::-1], flush=True)"


def child(code: str, **options) -> Child:
    return Child([sys.executable, "-c", code], environment(2, os.environ), "echo", **options)


def ask(word: str):
    def talk(stdin, stdout) -> str:
        stdin.write(word.encode() + b"\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise EOFError
        return answer.decode().strip()

    return talk


def test_requests_and_the_end():
    one = child(ECHO)
    assert [one.exchange(ask(word), "asking") for word in ("abc", "de")] == ["cba", "ed"]
    assert one.alive and one.pid > 0
    one.close()
    one.close()
    assert not one.alive
    with pytest.raises(EngineError, match=r"^echo, asking: the worker is not running \(it was closed\)"):
        one.exchange(ask("f"), "asking")


def test_threads_are_limited():
    one = child("import os\nprint(os.environ['OMP_NUM_THREADS'])")
    assert one.exchange(lambda _, stdout: stdout.readline(), "asking") == b"2\n"
    one.close()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import sys; print('no memory', file=sys.stderr); sys.exit(3)",
            "ended with status 3; its last words: no memory",
        ),
        ("import sys; sys.exit(3)", "ended with status 3; its last words: none"),
        (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", "ended by SIGKILL; its last words: none"),
    ],
)
def test_how_it_died(code, message):
    one = child(code)
    with pytest.raises(
        EngineError, match=rf"^echo, asking: its process was {message}|^echo, asking: its process {message}"
    ):
        one.exchange(ask("a"), "asking")
    with pytest.raises(EngineError, match="not running .*" + message.split(";")[0]):
        one.exchange(ask("a"), "asking again")


def test_a_reason_in_its_last_words():
    code = "import sys; print('F: bad shape\\nstack', file=sys.stderr); sys.exit(1)"
    one = child(code, explain=lambda lines: next((line[3:] for line in lines if line.startswith("F: ")), ""))
    with pytest.raises(EngineError, match="^echo, asking: bad shape$"):
        one.exchange(ask("a"), "asking")


@pytest.mark.parametrize("grace", [0.0, 5.0])
def test_one_that_takes_too_long_is_ended(grace):
    one = child("import time\ntime.sleep(60)", timeout=0.2, grace=grace)
    with pytest.raises(EngineError, match="^echo, asking: no answer within 0.2 s"):
        one.exchange(ask("a"), "asking")
    assert not one.alive


def test_half_an_exchange_ends_it():
    def interrupted(_stdin, _stdout):
        raise KeyboardInterrupt

    one = child(ECHO)
    with pytest.raises(KeyboardInterrupt):
        one.exchange(interrupted, "asking")
    assert not one.alive


def test_grace_lets_it_clean_up(tmp_path):
    code = f"import sys\nsys.stdin.read()\nopen({str(tmp_path / 'done')!r}, 'w').close()"
    child(code, grace=10.0).close()
    assert (tmp_path / "done").exists()


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(EngineError, match="none cannot be run: No such file"):
        Child([str(tmp_path / "none")], {}, "none")


def test_our_own_interpreter_is_not_inherited(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/usr")
    monkeypatch.setenv("PYTHONPATH", "/caffe/python")
    assert "PYTHONHOME" not in inherited() and inherited()["PYTHONPATH"] == "/caffe/python"
