"""Real Caffe's own upgrade of a network, layer by layer, without building it: the judge of deepmerge/read/legacy.

It runs under the interpreter that has Caffe (Python 3.6). Each line on stdin is the path of a prototxt or caffemodel;
the upgraded network goes to the path with .upgraded behind it, as a NetParameter in binary form, and "done" to stdout.
Where Caffe ends its process instead, "refused" goes there. pycaffe does not offer that function, so it is called in
Caffe's library by its C++ name: ReadNetParamsFromTextFileOrDie, which caffe.Net calls first.
"""

import ctypes
import glob
import importlib.util
import os
import sys

STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
NEW_NET = "_ZN5caffe12NetParameterC1EPN6google8protobuf5ArenaE"
READ_TEXT = "_ZN5caffe30ReadNetParamsFromTextFileOrDieERK" + STRING + "PNS_12NetParameterE"
READ_BINARY = "_ZN5caffe32ReadNetParamsFromBinaryFileOrDieERK" + STRING + "PNS_12NetParameterE"
WRITE = "_ZN5caffe22WriteProtoToBinaryFileERKN6google8protobuf7MessageEPKc"
NET_BYTES = 4096  # of a NetParameter object, or more


class String(ctypes.Structure):
    """libstdc++'s std::string."""

    _fields_ = [("text", ctypes.c_char_p), ("size", ctypes.c_size_t), ("short", ctypes.c_char * 16)]


def upgrade(library, path):
    """Write the upgraded network of the file at path (bytes); Caffe aborts where it refuses."""
    net = ctypes.create_string_buffer(NET_BYTES)
    getattr(library, NEW_NET)(net, None)
    read = READ_TEXT if path.endswith(b".prototxt") else READ_BINARY
    getattr(library, read)(ctypes.byref(String(path, len(path), b"")), net)
    getattr(library, WRITE)(net, path + b".upgraded")


def main():
    (folder,) = importlib.util.find_spec("caffe").submodule_search_locations
    (path,) = glob.glob(os.path.join(glob.escape(folder), "_caffe*.so"))
    library = ctypes.CDLL(path)  # importing pycaffe takes its time, and adds nothing here
    known = all(hasattr(library, name) for name in (NEW_NET, READ_TEXT, READ_BINARY, WRITE))
    print("ready" if known else "this build of Caffe does not show its functions", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            upgrade(library, os.fsencode(line.rstrip("\n")))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("done" if status == 0 else "refused", flush=True)


if __name__ == "__main__":
    main()
