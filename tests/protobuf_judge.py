"""Real Caffe's own protobuf messages as the judge of what we write: compared in the interpreter that has Caffe."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# Python 3.6 syntax: JSON in (kind, a, b), JSON out ("" where a and b are the same message, else what differs)
_PROGRAM = r"""
import base64, json, sys
from caffe.proto import caffe_pb2
from google.protobuf import text_format

def message(kind, form, data):
    made = getattr(caffe_pb2, kind)()
    if form == "text":
        return text_format.Parse(data, made)
    made.ParseFromString(base64.b64decode(data))
    return made

def compare(kind, a, b):
    try:
        a, b = message(kind, *a), message(kind, *b)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    if a == b:
        return ""
    return "\n".join(sorted(set(str(a).splitlines()) ^ set(str(b).splitlines()))) or "the order"

print(json.dumps([compare(*case) for case in json.load(sys.stdin)]))
"""


def differences(python: Path, cases: Sequence[tuple[str, str | bytes, str | bytes]]) -> list[str]:
    """For each (message type, a, b), texts or bytes, what differs between the messages; "" if nothing does."""
    sent = [(kind, _form(a), _form(b)) for kind, a, b in cases]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["GLOG_minloglevel"] = "2"
    done = subprocess.run(
        [python, "-c", _PROGRAM], input=json.dumps(sent), env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _form(data: str | bytes) -> tuple[str, str]:
    return ("text", data) if isinstance(data, str) else ("bytes", base64.b64encode(data).decode())
