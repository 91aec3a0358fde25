"""Compile proto/caffe.proto to deepmerge/formats/caffe.desc, the one build step that setup.cfg cannot express.

So running deepmerge needs neither protoc nor generated code. A wheel has the descriptor in its own tree; an editable
install has it beside the sources, where git ignores it.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

ROOT = Path(__file__).parent
PROTO = ROOT / "proto" / "caffe.proto"


class BuildPyAndDescriptor(build_py):
    """Run build_py, then compile the descriptor."""

    def run(self) -> None:
        """Build."""
        super().run()
        compile_descriptor(self._descriptor())

    def _descriptor(self) -> Path:
        package_parent = ROOT if self.editable_mode else Path(self.build_lib)
        return package_parent / "deepmerge" / "formats" / "caffe.desc"

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that are built, the descriptor among them."""
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else [str(self._descriptor())])]

    def get_source_files(self) -> list[str]:
        """Return the files that are built from, caffe.proto among them."""
        return [*super().get_source_files(), str(PROTO.relative_to(ROOT))]


def compile_descriptor(out: Path) -> None:
    """Write PROTO to `out` as a serialized FileDescriptorSet."""
    from grpc_tools import protoc

    out.parent.mkdir(parents=True, exist_ok=True)
    if protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", str(PROTO)]):
        raise ExecError(f"protoc refused {PROTO}; it said why above")


setup(cmdclass={"build_py": BuildPyAndDescriptor})
