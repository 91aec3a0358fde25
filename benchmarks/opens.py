"""Which engines take which networks, and how far their outputs are from real Caffe's: a Markdown table.

    python benchmarks/opens.py NET [NET …]

NET as for `deepmerge bench`: an OUT folder, PROTOTXT CAFFEMODEL, NAME=NET. Exit code 1 where an engine takes a network and
makes something else of it than Caffe does (above 1e-4 of the output's range).
"""

from __future__ import annotations

import sys

import numpy as np

from deepmerge.engines import engine
from deepmerge.errors import DeepmergeError
from deepmerge.measuring.networks import Network, parse_networks, read_networks

ENGINES = ("ort", "torch", "opencv", "mnn", "ncnn")
TOLERANCE = 1e-4
IMAGES = 4


def outputs(name: str, network: Network, feeds: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]] | str:
    """What the engine makes of the inputs, one after the other; or why it makes nothing."""
    try:
        with engine(name).load(network.graph) as session:
            return [session.forward(one) for one in feeds]
    except DeepmergeError as error:
        return str(error)


def apart(found: list[dict[str, np.ndarray]], wanted: list[dict[str, np.ndarray]]) -> float:
    """The greatest difference of any output, as a share of that output's range in Caffe over all inputs."""
    worst = 0.0
    for name in wanted[0]:
        judge, other = (np.stack([one[name] for one in several]) for several in (wanted, found))
        worst = max(worst, float(np.abs(other - judge).max() / (np.ptp(judge) or 1.0)))
    return worst


def main(words: list[str]) -> int:
    networks = read_networks(parse_networks(words), batch=1)
    notes, wrong = [], False
    print("| network | " + " | ".join(ENGINES) + " |\n|---|" + "---|" * len(ENGINES))
    for network in networks:
        rng = np.random.default_rng(0)
        shapes = {blob.name: blob.producer.params.shape[0] for blob in network.graph.inputs}
        feeds = [{name: rng.uniform(-128, 127, shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(IMAGES)]
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
        print(f"| {network.label} | " + " | ".join(cells) + " |", flush=True)
    print("\n".join(["", f"Greatest difference from real Caffe over {IMAGES} inputs of noise, as a share of the output's range.", *notes]))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
