"""Show which engines take which networks, and how far their outputs are from real Caffe's, as a Markdown table.

    python benchmarks/opens.py NET [NET …]

NET as for `deepmerge bench`: an OUT folder, PROTOTXT CAFFEMODEL, NAME=NET. Exit code 1 if an engine takes a network and
computes something else than Caffe does (above 1e-4 of the output's range). With netron and Node.js installed, a column
shows whether netron's parser finds the same layers and the same weights in the files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from deepmerge.engines import engine
from deepmerge.errors import DeepmergeError
from deepmerge.measure.harness.networks import Network, parse_networks, read_networks

ENGINES = ("ort", "torch", "opencv", "mnn", "ncnn")
TOLERANCE = 1e-4
IMAGES = 4


def outputs(name: str, network: Network, feeds: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]] | str:
    """Return the engine's outputs for the inputs, one after the other; or why there are none."""
    try:
        with engine(name).load(network.graph) as session:
            return [session.forward(one) for one in feeds]
    except DeepmergeError as error:
        return str(error)


def apart(found: list[dict[str, np.ndarray]], wanted: list[dict[str, np.ndarray]]) -> float:
    """Return the greatest difference of any output, as a share of that output's range in Caffe over all inputs."""
    worst = 0.0
    for name in wanted[0]:
        judge, other = (np.stack([one[name] for one in several]) for several in (wanted, found))
        worst = max(worst, float(np.abs(other - judge).max() / (np.ptp(judge) or 1.0)))
    return worst


def netron(network: Network) -> str:
    """Return whether netron's parser finds the same layers and weights in the network's files."""
    spec, node = importlib.util.find_spec("netron"), shutil.which("node")
    if spec is None or node is None:
        return "not installed"
    files = [str(network.source.prototxt), str(network.source.caffemodel)]
    script = Path(__file__).with_name("netron_reads.mjs")
    done = subprocess.run([node, str(script), str(Path(spec.origin).parent), *files], capture_output=True, text=True)
    if done.returncode:
        return next((line for line in done.stderr.splitlines() if "Error" in line), "failed")
    text, weights = (json.loads(done.stdout)[file] for file in files)
    learned = [layer for layer in network.graph.layers if layer.weights]
    types = {layer["name"]: layer["type"] for layer in text}
    blobs = {layer["name"]: layer["blobs"] for layer in weights if layer["blobs"]}
    wanted = {
        layer.name: [[list(w.shape), hashlib.sha256(np.float32(w).tobytes()).hexdigest()] for w in layer.weights]
        for layer in learned
    }
    same = blobs == wanted and all(types.get(layer.name) == layer.type for layer in learned)
    return "equal" if same else "**other layers or weights**"


def main(words: list[str]) -> int:
    """Print the table; return 1 if anything is wrong."""
    networks = read_networks(parse_networks(words), batch=1)
    notes, wrong = [], False
    print("| network | " + " | ".join([*ENGINES, "netron"]) + " |\n|---|" + "---|" * (len(ENGINES) + 1))
    for network in networks:
        rng = np.random.default_rng(0)
        shapes = {blob.name: blob.producer.params.shape[0] for blob in network.graph.inputs}
        feeds = [
            {name: rng.uniform(-128, 127, shape).astype(np.float32) for name, shape in shapes.items()}
            for _ in range(IMAGES)
        ]
        wanted = outputs("caffe", network, feeds)
        if isinstance(wanted, str):
            raise SystemExit(f"{network.label}: {wanted}")
        cells = []
        for name in ENGINES:
            found = outputs(name, network, feeds)
            if isinstance(found, str):
                notes.append(f"{network.label}, {name}: {found}")
                cells.append("refused")
                continue
            difference = apart(found, wanted)
            wrong |= not difference <= TOLERANCE
            cells.append(f"{difference:.0e}" + ("" if difference <= TOLERANCE else " **too far**"))
        cells.append(netron(network))
        wrong |= "**" in cells[-1]
        print(f"| {network.label} | " + " | ".join(cells) + " |", flush=True)
    print(
        "\n".join(
            [
                "",
                f"Greatest difference from real Caffe over {IMAGES} inputs of noise, as a share of the output's range.",
                *notes,
            ]
        )
    )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
