"""Our upgrade and real Caffe's of the same file, both as protobuf messages."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deepmerge.engines.process import inherited
from deepmerge.formats import schema
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.upgrade import refuse_mixed, upgrade
from deepmerge.formats.read.validate import validate
from deepmerge.formats.write.wire import encode

FILE = "net.prototxt"


def net_parameter(data: bytes):
    """A NetParameter in binary form as protobuf's message."""
    return schema.message_class("NetParameter").FromString(data)


def ours(text: str, warnings: list[str] | None = None):
    """The upgraded network as a NetParameter; ReadError where it is refused."""
    tree = parse(text, FILE)
    refuse_mixed(tree, FILE)
    validate(tree, FILE)
    return net_parameter(encode(upgrade(tree, FILE, warnings), "NetParameter"))


class Judge:
    """Real Caffe's upgrade, in a process that stays for all tests."""

    def __init__(self, python: Path, folder: Path):
        program = Path(__file__).with_name("real_upgrade.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([python, program], env=inherited(), text=True, **pipes)
        self.folder = folder
        self.ready = self._reply()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def upgrade(self, net: str | bytes):
        """The upgraded NetParameter of a prototxt's text or a caffemodel's bytes, or None where Caffe refuses it."""
        path = self.folder / ("net.prototxt" if isinstance(net, str) else "net.caffemodel")
        path.write_bytes(net.encode() if isinstance(net, str) else net)
        print(path, file=self.process.stdin, flush=True)
        if self._reply() != "done":
            return None
        return net_parameter(Path(f"{path}.upgraded").read_bytes())

    def agree(self, text: str, warnings: list[str] | None = None) -> None:
        """Both upgrades of this prototxt are equal, field by field."""
        expected, found = self.upgrade(text), ours(text, warnings)
        assert expected is not None, "real Caffe refuses it"
        if found != expected:
            assert str(found) == str(expected)  # the difference to look at
            raise AssertionError("equal as text only")

    def _reply(self) -> str:
        return self.process.stdout.readline().strip()
