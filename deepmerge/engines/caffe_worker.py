"""The program that runs real Caffe, under the interpreter that has it, and talks to deepmerge through pipes.

It runs under another Python than deepmerge, so it is written for Python 3.6, and imports nothing but the standard
library, numpy and caffe. Requests come on stdin; replies go to what was stdout:

    frame = uint32 length of the header | header, JSON | float32 buffers, one after the other

All is little-endian. header["arrays"] lists the buffers as [name, shape]. A request has a "command"; a reply has the
result or an "error". Caffe aborts the process when a check fails: then there is no reply, and the reason is on stderr.

    caffe_worker.py             serve requests until "quit" or the end of stdin
    caffe_worker.py --find      exit with 0 if a package called caffe is found; import nothing
    caffe_worker.py --describe  import caffe, and describe it in one line of JSON
"""

import os
import sys

# Python puts this file's folder first on the path, where caffe.py would be imported as Caffe.
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _HERE]

import importlib.util  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import signal  # noqa: E402
import struct  # noqa: E402
import time  # noqa: E402

caffe = None
np = None
NETS = {}  # id → Loaded
SOLVERS = {}  # id → Solving
COMMANDS = {}  # name → function(header, arrays) → (reply, arrays)


def import_caffe():
    """Import Caffe for the CPU. What it prints goes to stderr."""
    global caffe, np
    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe as real_caffe
    import numpy

    # Any folder called caffe can be imported as an empty namespace package.
    if not hasattr(real_caffe, "Net") or not hasattr(real_caffe, "layer_type_list"):
        raise ImportError(f"the package caffe in {list(real_caffe.__path__)} is not Caffe")
    real_caffe.set_mode_cpu()
    caffe, np = real_caffe, numpy


class Loaded:
    """A network and its last inputs, so that all timed runs start alike."""

    def __init__(self, net):
        self.net = net
        self.feeds = {}

    def feed(self):
        """Fill the input blobs, which layers in place may have overwritten."""
        for name, array in self.feeds.items():
            self.net.blobs[name].data[...] = array


def command(function):
    """Make a function a command, called by its name."""
    COMMANDS[function.__name__] = function
    return function


def as_paths(value):
    """Return one path or several as a list."""
    return [value] if isinstance(value, str) else list(value or [])


@command
def describe(header, arrays):
    """→ versions of Caffe, Python and numpy, where they are, and Caffe's layer types."""
    types = list(caffe.layer_type_list())
    reply = {
        "caffe": getattr(caffe, "__version__", "unknown"),
        "path": os.path.dirname(os.path.abspath(caffe.__file__)),
        "python": platform.python_version(),
        "executable": sys.executable,
        "numpy": np.__version__,
        "layer_types": len(types),
        "types": types,
    }
    return reply, []


@command
def load(header, arrays):
    """prototxt, weights (paths), phase, shapes (input → shape), id → inputs, outputs, blobs."""
    # Fillers draw from Caffe's generator: without a seed, a net without weights differs each time.
    caffe.set_random_seed(header.get("seed", 1))
    phase = {"TEST": caffe.TEST, "TRAIN": caffe.TRAIN}[header.get("phase", "TEST")]
    net = caffe.Net(header["prototxt"], phase)
    for path in as_paths(header.get("weights")):
        net.copy_from(path)
    shapes = header.get("shapes") or {}
    for name, shape in shapes.items():
        net.blobs[name].reshape(*shape)
    if shapes:
        net.reshape()
    NETS[header["id"]] = Loaded(net)
    inputs = [[name, list(net.blobs[name].shape)] for name in net.inputs]
    return {"inputs": inputs, "outputs": list(net.outputs), "blobs": list(net.blobs)}, []


@command
def unload(header, arrays):
    """Take id."""
    NETS.pop(header["id"], None)
    return {}, []


@command
def forward(header, arrays):
    """Arrays: the inputs. blobs: the names wanted → their arrays, in that order."""
    loaded = NETS[header["id"]]
    net = loaded.net
    reshaped = False
    for name, array in arrays:
        if tuple(net.blobs[name].shape) != array.shape:
            net.blobs[name].reshape(*array.shape)
            reshaped = True
    if reshaped:
        net.reshape()
    loaded.feeds = dict(arrays)
    loaded.feed()
    net.forward()
    # sent before the next forward overwrites them, so that no copy is needed here
    return {}, [(name, net.blobs[name].data) for name in header["blobs"]]


@command
def backward(header, arrays):
    """Arrays: the outputs' diffs. blobs: the names wanted → their diffs; layers: [name, blobs] → the parameters' diffs.

    Of what the last forward left. An output that is not given counts by its loss weight.
    """
    net = NETS[header["id"]].net
    given = dict(arrays)
    weights = net.blob_loss_weights
    for name in net.outputs:
        if name in given:
            net.blobs[name].diff[...] = given[name]
        else:
            net.blobs[name].diff[...] = weights[name] if name in weights else 0
    params = [(name, blob) for name, blobs in net.params.items() for blob in blobs]
    for _, blob in params:
        blob.diff[...] = 0  # layers add to it
    net._backward(len(net.layers) - 1, 0)
    layers = [[name, len(blobs)] for name, blobs in net.params.items()]
    diffs = [(name, net.blobs[name].diff) for name in header["blobs"]]
    return {"layers": layers}, diffs + [(name, blob.diff) for name, blob in params]


@command
def timing(header, arrays):
    """repeat, warmup → seconds: wall clock of each forward; waited: of that, in the queue for a core, or None."""
    loaded = NETS[header["id"]]
    last = len(loaded.net.layers) - 1
    seconds, waits = [], []
    for turn in range(header["warmup"] + header["repeat"]):
        loaded.feed()
        before = waited_seconds()
        start = time.perf_counter()
        loaded.net._forward(0, last)
        stop = time.perf_counter()
        after = waited_seconds()
        if turn >= header["warmup"]:
            seconds.append(stop - start)
            waits.append(None if before is None or after is None else max(after - before, 0.0))
    return {"seconds": seconds, "waited": waits}, []


def waited_seconds():
    """Return the seconds that this process's threads have waited for a core; None if unknown. See waiting.py."""
    try:
        total = 0
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/schedstat") as file:
                total += int(file.read().split()[1])
        return total * 1e-9
    except (OSError, IndexError, ValueError):
        return None


@command
def layer_timing(header, arrays):
    """repeat, warmup → layers: [name, type, [seconds of each forward]]."""
    loaded = NETS[header["id"]]
    net = loaded.net
    seconds = [[] for _ in net.layers]
    for turn in range(header["warmup"] + header["repeat"]):
        loaded.feed()
        for i in range(len(seconds)):
            start = time.perf_counter()
            net._forward(i, i)
            stop = time.perf_counter()
            if turn >= header["warmup"]:
                seconds[i].append(stop - start)
    names = list(net._layer_names)
    return {"layers": [[names[i], net.layers[i].type, seconds[i]] for i in range(len(names))]}, []


@command
def net_info(header, arrays):
    """Id → layers with types, blobs and parameter shapes; the memory that Caffe logs as required."""
    net = NETS[header["id"]].net
    names = list(net.blobs)
    layers = []
    memory = 0
    for i, name in enumerate(net._layer_names):
        layer = net.layers[i]
        tops = [names[j] for j in net._top_ids(i)]
        # net.cpp counts every top of every layer, Split's and in-place ones again
        memory += 4 * sum(net.blobs[top].count for top in tops)
        layers.append(
            {
                "name": name,
                "type": layer.type,
                "bottoms": [names[j] for j in net._bottom_ids(i)],
                "tops": tops,
                "params": [list(blob.shape) for blob in layer.blobs],
            }
        )
    blobs = [[name, list(blob.shape)] for name, blob in net.blobs.items()]
    reply = {"layers": layers, "blobs": blobs, "memory_bytes": memory}
    reply.update(inputs=list(net.inputs), outputs=list(net.outputs))
    return reply, []


@command
def params(header, arrays):
    """Id → all parameter blobs, by their layers' names."""
    net = NETS[header["id"]].net
    return {}, [(name, blob.data) for name, blobs in net.params.items() for blob in blobs]


@command
def save(header, arrays):
    """Take id, path."""
    net = NETS[header["id"]].net
    (net.save_hdf5 if header["path"].endswith(".h5") else net.save)(header["path"])
    return {}, []


def net_loss(net):
    """Return the weighted sum that Caffe minimises, after the last forward."""
    weights = net.blob_loss_weights
    return sum(
        float(weight) * float(np.sum(net.blobs[name].data, dtype=np.float64))
        for name, weight in weights.items()
        if weight
    )


class folder:  # noqa: N801  # used like a function
    """Run the body in a folder: Caffe resolves the paths of a solver's net and of its data from the current one."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.before = os.getcwd()
        os.chdir(self.path)

    def __exit__(self, *_):
        os.chdir(self.before)


def opened(header):
    """Return the solver of a request, with its weights in all nets. Caffe: tools/caffe.cpp, CopyLayers."""
    caffe.set_random_seed(header.get("seed", 1))
    solver = caffe.get_solver(header["solver"])
    for path in as_paths(header.get("weights")):
        for net in [solver.net, *solver.test_nets]:
            net.copy_from(path)
    return solver


def taken(solver, steps):
    """Take some steps, and return each one's loss."""
    losses = []
    for _ in range(steps):
        solver.step(1)
        losses.append(net_loss(solver.net))
    return losses


@command
def solve(header, arrays):
    """solver, weights (paths), steps, cwd, save (a path), test → losses, one for each step."""
    with folder(header["cwd"]):
        solver = opened(header)
        losses = taken(solver, header["steps"])
        tests = []
        for test_net in solver.test_nets if header.get("test") else []:
            test_net.share_with(solver.net)
            test_net.forward()
            tests.append({n: test_net.blobs[n].data.ravel().tolist() for n in test_net.outputs})
        if header.get("save"):
            solver.net.save(header["save"])
        return {"losses": losses, "iteration": solver.iter, "tests": tests}, []


class Solving:
    """An open solver, and the folder of its relative paths."""

    def __init__(self, solver, cwd):
        self.solver = solver
        self.cwd = cwd


@command
def open_solver(header, arrays):
    """solver, weights (paths), restore (a .solverstate), cwd, seed, id → iteration."""
    with folder(header["cwd"]):
        solver = opened(header)
        if header.get("restore"):
            solver.restore(header["restore"])
    SOLVERS[header["id"]] = Solving(solver, header["cwd"])
    return {"iteration": solver.iter}, []


@command
def run_solver(header, arrays):
    """id, steps → losses, one for each step (of its last batch), iteration."""
    one = SOLVERS[header["id"]]
    with folder(one.cwd):
        losses = taken(one.solver, header["steps"])
    return {"losses": losses, "iteration": one.solver.iter}, []


@command
def test_solver(header, arrays):
    """id, net (the number of a test net), batches → outputs: name → the mean in each batch."""
    one = SOLVERS[header["id"]]
    outputs = {}
    with folder(one.cwd):
        net = one.solver.test_nets[header["net"]]
        net.share_with(one.solver.net)
        for _ in range(header["batches"]):
            for name, value in net.forward().items():
                outputs.setdefault(name, []).append(float(np.mean(value, dtype=np.float64)))
    return {"outputs": outputs}, []


@command
def save_solver(header, arrays):
    """id, path (weights; none if ""), state: whether to write PREFIX_iter_N.solverstate as well."""
    one = SOLVERS[header["id"]]
    with folder(one.cwd):
        if header["path"]:
            one.solver.net.save(header["path"])
        if header["state"]:
            one.solver.snapshot()
    return {}, []


@command
def close_solver(header, arrays):
    """Take id."""
    SOLVERS.pop(header["id"], None)
    return {}, []


def read_exactly(stream, size):
    """Return that number of bytes. EOFError if there are fewer."""
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def read_frame(stream):
    """Return a request's header and its arrays, [(name, array)]."""
    (size,) = struct.unpack("<I", read_exactly(stream, 4))
    header = json.loads(read_exactly(stream, size).decode("utf-8"))
    arrays = []
    for name, shape in header.get("arrays", ()):
        count = 1
        for dim in shape:
            count *= dim
        data = np.frombuffer(read_exactly(stream, 4 * count), dtype="<f4")
        arrays.append((name, data.reshape(shape)))
    return header, arrays


def write_frame(stream, header, arrays):
    """Write a reply."""
    arrays = [(name, np.ascontiguousarray(a, dtype="<f4").reshape(a.shape)) for name, a in arrays]
    header = dict(header, arrays=[[name, list(a.shape)] for name, a in arrays])
    data = json.dumps(header).encode("utf-8")
    stream.write(struct.pack("<I", len(data)))
    stream.write(data)
    for _, array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def serve(requests, replies):
    """Answer requests until "quit" or the end of the stream."""
    while True:
        try:
            header, arrays = read_frame(requests)
        except EOFError:
            return
        if header["command"] == "quit":
            return
        try:
            reply, results = COMMANDS[header["command"]](header, arrays)
        except Exception as error:
            reply, results = {"error": f"{type(error).__name__}: {error}"}, []
        write_frame(replies, reply, results)


def main(arguments):
    """Run the program, and return its exit code."""
    if arguments == ["--find"]:
        return 0 if importlib.util.find_spec("caffe") else 3
    # What Caffe or a Python layer prints must not mix with the frames.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import_caffe()
    if arguments == ["--describe"]:
        replies.write(json.dumps(describe({}, [])[0]).encode("utf-8") + b"\n")
        replies.flush()
        return 0
    # Signals may reach the whole process group, but the client ends this process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    write_frame(replies, {"ready": True}, [])
    serve(sys.stdin.buffer, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
