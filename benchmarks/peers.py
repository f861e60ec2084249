"""Pictures a second beside the programs that people would take instead: the same network and inputs, in one process.

Ours are each backend and engine, NumPy in and out; the peers are ONNX Runtime and OpenVINO alone, on the file that
`convert --to onnx` writes and with their own defaults but for the number of threads (and float32, which OpenVINO would
leave on processors with bfloat16), plain PyTorch with every layer by itself, and Chainer as it is. They take turns, so
that what else the machine does falls on all of them; the best round of each counts.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

import deeppose_port.backends.torch  # noqa: F401 - before PyTorch: it says how its threads wait
from benchmarks import generated
from benchmarks.forward import PlainAlexNet
from benchmarks.timing import Row, Usage, seconds_of, take_turns, usage_of
from converters import Architecture, Checkpoint, Preprocessing, Source
from deeppose_port import backends
from deeppose_port.backends.torch import load
from deeppose_port.data import PoseDataset
from deeppose_port.data.batches import batches
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.pose import Pose

Outputs = npt.NDArray[np.float32]
Answer = Callable[[Outputs], Outputs]

NETWORKS = ("resnet50", "alexnet", "vgg_bn")
BATCHES = (32, 1)
THREADS = (2, 1)
#: Seconds for the whole table, on two quiet cores; rounds of a cell at most; persons of the way from JPEGs to joints.
SECONDS, ROUNDS, PICTURES = 480.0, 40, 1000
#: How long one network takes beside the others.
SHARES = {"resnet50": 1.0, "alexnet": 0.6, "vgg_bn": 3.0}
#: Ours may be so much slower than the same engine alone, which noise makes it.
NOISE = 0.97
#: How much slower than the fastest may be what takes part in another round, from the round on that it is looked at: the
#: first calls of a short one are often several times as long as its best, in ours and in the peers.
_NEAR, _FAIR = 1.25, 10
#: Seconds of a first call from which on what is made in it alone does not count.
_LONG = 1.0
#: A batch's share of the time is as many pictures and so many more, for what it takes by itself.
_ONCE = 8
#: Seconds after which threads that spin behind a call have stopped: OpenBLAS's go on for 2 ** 26 cycles.
_PAUSE = 0.05


@dataclass(frozen=True)
class Cell:
    """One network, batch and number of threads.

    Attributes:
        network: The network.
        batch: Pictures at a time.
        threads: Of each candidate.
        rates: Pictures a second, by candidate.
        differences: The largest difference from plain PyTorch's answers, as a part of the largest of these.
    """

    network: str
    batch: int
    threads: int
    rates: Mapping[str, float]
    differences: Mapping[str, float]

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"{self.network}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def ours(self) -> str:
        """The fastest of ours."""
        return max((name for name in self.rates if name.startswith("ours")), key=lambda name: self.rates[name])

    @property
    def peer(self) -> str:
        """The fastest of the others."""
        return max((name for name in self.rates if not name.startswith("ours")), key=lambda name: self.rates[name])


def checkpoint_of(architecture: Architecture, side: int = 220) -> Checkpoint:
    """Returns a network of random weights, its BatchNormalization's statistics near 1."""
    rng = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[np.number]] = {}
    for name, shape in architecture.shapes.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros(shape, np.int64)
        elif len(shape) > 1:
            weights[name] = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
        elif name.endswith("running_var"):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:  # factors below 1 keep a deep sum of blocks finite
            weights[name] = rng.uniform(0.2, 0.6, shape).astype(np.float32)
    preprocessing = Preprocessing(im_size=side)
    return Checkpoint(architecture, weights, preprocessing, Source("random", "", "pt", writer=architecture.writer))


def run(
    seconds: float = SECONDS,
    networks: Sequence[str] = NETWORKS,
    threads: Sequence[int] = THREADS,
    batch_sizes: Sequence[int] = BATCHES,
    pictures: int = PICTURES,
) -> list[Row]:
    """Measures the start of `predict`, the way from JPEGs to joints, and the table; tells each row when it is known.

    Args:
        seconds: How long all of it takes, about: what does not fit is left out, the last first.
        networks: The networks.
        threads: Of each candidate.
        batch_sizes: Pictures at a time.
        pictures: Persons of the way from JPEGs to joints.
    """
    start = time.perf_counter()
    measured = [told(row) for row in start_up()]
    measured += [told(row) for name in ("alexnet", "resnet50") for row in from_jpegs(pictures, name)]
    cells: list[Cell] = []
    groups = [(network, count) for count in threads for network in networks]
    for i, (network, count) in enumerate(groups):
        left = seconds - (time.perf_counter() - start)
        if left <= 0:
            say(f"no time is left for {network} with {count} threads")
            continue
        share = SHARES.get(network, 1.0) / sum(SHARES.get(name, 1.0) for name, _ in groups[i:])
        architecture = Architecture.full_size(network, 16, writer="chainer-7.8.1")
        for cell in measure(checkpoint_of(architecture), count, batch_sizes, ROUNDS, left * share):
            cells.append(cell)
            rates = ", ".join(f"{name} {rate:.1f}" for name, rate in sorted(cell.rates.items(), key=lambda r: -r[1]))
            say(f"{cell.title}: {rates}")
            measured += [told(row) for row in rows(cell)]
    if cells:
        Console(width=None if sys.stdout.isatty() else 160).print(table(cells))
        measured.append(told(largest_difference(cells)))
    return measured


def say(line: str) -> None:
    """Shows a line at once, beside the table that comes at the end."""
    print(line, file=sys.stderr, flush=True)


def told(row: Row) -> Row:
    """Shows a row at once."""
    verdict = "pass" if row.passed else "FAIL"
    say(f"{verdict} {row.what}: {row.value:.3g} ({row.ours:.4g} {row.unit}), {row.relation} {row.bound:g}")
    return row


def rows(cell: Cell) -> list[Row]:
    """Returns the rows with bounds: our best over the best peer, and PyTorch alone over it."""
    best = cell.rates[cell.peer]
    names = ((cell.ours, NOISE), ("ours, PyTorch", 0.75))
    return [
        Row(f"{cell.title}: {name}, over {cell.peer}", cell.rates[name], best, "/s", "ratio", ">=", bound)
        for name, bound in names
    ]


def largest_difference(cells: Iterable[Cell]) -> Row:
    """Returns the row of the answers' differences."""
    worst = max(difference for cell in cells for name, difference in cell.differences.items() if name[:4] == "ours")
    return Row("peers: largest difference of our answers, in millionths", worst * 1e6, None, "", "ours", "<=", 10)


def table(cells: list[Cell]) -> Table:
    """Returns every candidate's pictures a second, and its largest difference."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.rates))
    shown = Table(title="pictures a second (the largest difference of the answers in millionths)", title_justify="left")
    for heading in ("network", "batch", "threads", *names):
        shown.add_column(heading, justify="left" if heading == "network" else "right")
    for cell in cells:
        numbers = [
            f"{cell.rates[name]:.1f} ({1e6 * cell.differences[name]:.1f})" if name in cell.rates else ""
            for name in names
        ]
        shown.add_row(cell.network, str(cell.batch), str(cell.threads), *numbers)
    return shown


def measure(
    checkpoint: Checkpoint, threads: int, batch_sizes: Sequence[int], rounds: int, seconds: float
) -> Iterator[Cell]:
    """Measures every candidate on one network with so many threads.

    Args:
        checkpoint: The network.
        threads: Of each candidate.
        batch_sizes: Pictures at a time.
        rounds: How often a candidate answers, at most.
        seconds: How long all of it takes, about; a round that was begun is ended, and there is one at least.
    """
    start, network = time.perf_counter(), checkpoint.architecture.name
    with _threads(threads):
        candidates = dict(_candidates(checkpoint, threads))
        for i, batch in enumerate(batch_sizes):
            shape = (batch, 3, *checkpoint.preprocessing.shape)
            inputs = np.random.default_rng(batch).standard_normal(shape, np.float32)
            here = {n: c for n, c in candidates.items() if batch == 1 or "Chainer" not in n}  # which takes minutes
            answers: dict[str, Outputs] = {}
            first: dict[str, float] = {}
            for name, answer in here.items():
                began = time.perf_counter()
                answers[name] = answer(inputs).copy()
                first[name] = time.perf_counter() - began
            here["ours, PyTorch"](inputs[:4])  # where it is not fused it measures its memory format in its second call
            expected = answers["PyTorch alone"]
            left = seconds - (time.perf_counter() - start)
            share = (batch + _ONCE) / sum(other + _ONCE for other in batch_sizes[i:])
            best = _race(here, inputs, rounds, left * share, first)
            scale = float(np.abs(expected).max())
            yield Cell(
                network,
                batch,
                threads,
                {name: batch / second for name, second in best.items()},
                {name: float(np.abs(answer - expected).max()) / scale for name, answer in answers.items()},
            )


def _race(
    candidates: Mapping[str, Answer], inputs: Outputs, rounds: int, seconds: float, first: Mapping[str, float]
) -> dict[str, float]:
    """Returns the seconds of each candidate's best round; their first calls are one where these took long."""
    long = min(first.values()) > _LONG
    best = dict(first) if long else dict.fromkeys(candidates, float("inf"))
    near, start = _near(best) if long else list(candidates), time.perf_counter()
    order = random.Random(0)
    for taken in range(1, rounds + 1):
        for name in order.sample(near, len(near)):  # nobody is always behind the same one
            time.sleep(_PAUSE)
            best[name] = min(best[name], seconds_of(partial(candidates[name], inputs)))
        if long or taken >= _FAIR:
            near = _near(best)
        if time.perf_counter() - start + sum(best[name] for name in near) > seconds:
            break
    return best


def _near(seconds: Mapping[str, float]) -> list[str]:
    """Returns what takes part in another round."""
    limit = _NEAR * min(seconds.values())
    return [name for name, taken in seconds.items() if taken <= limit or name == "ours, PyTorch"]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Gives whatever is made within so many threads."""
    before, told = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)  # which our engines for ONNX go by
    try:
        yield
    finally:
        torch.set_num_threads(before)
        os.environ.pop("OMP_NUM_THREADS")
        if told is not None:
            os.environ["OMP_NUM_THREADS"] = told


def _candidates(checkpoint: Checkpoint, threads: int) -> Iterator[tuple[str, Answer]]:
    """Yields what answers, by name; what is not installed is left out."""
    slow_in_chainer = checkpoint.architecture.name == "vgg_bn"
    for backend in backends.BACKENDS.values():
        if backend.name == "chainer" and slow_in_chainer:
            continue
        for engine in backend.engines or ("",):
            if importlib.util.find_spec(engine or backend.distribution) is None:
                continue
            title = backend.engines.get(engine, backend.title)
            yield f"ours, {title}", Pose(checkpoint, backend.name, engine=engine or None)
    yield "PyTorch alone", _plain_pytorch(checkpoint)
    if importlib.util.find_spec("onnx") is None:
        return
    from deeppose_port.backends.onnx.graph import INPUT, model_of

    model = model_of(checkpoint).SerializeToString()
    if importlib.util.find_spec("onnxruntime") is not None:
        yield "ONNX Runtime alone", _onnxruntime(model, INPUT, threads)
    if importlib.util.find_spec("openvino") is not None:
        yield "OpenVINO alone", _openvino(model, INPUT, threads)
    if importlib.util.find_spec("chainer") is not None and not slow_in_chainer:
        yield "Chainer alone", _chainer(checkpoint)


def _plain_pytorch(checkpoint: Checkpoint) -> Answer:
    network: torch.nn.Module = load(checkpoint)
    if checkpoint.architecture == Architecture.full_size("alexnet", 16, writer=checkpoint.architecture.writer):
        network = PlainAlexNet(16).eval()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})

    def answer(inputs: Outputs) -> Outputs:
        with torch.inference_mode():
            outputs: Outputs = network(torch.from_numpy(inputs)).numpy()
        return outputs

    return answer


def _onnxruntime(model: bytes, given: str, threads: int) -> Answer:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, {given: inputs})[0], np.float32)


def _openvino(model: bytes, given: str, threads: int) -> Answer:
    from deeppose_port.backends.onnx.engines import openvino_core

    core = openvino_core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    return lambda inputs: np.asarray(compiled({given: inputs})[0], np.float32)


def _chainer(checkpoint: Checkpoint) -> Answer:
    from deeppose_port.backends.chainer.networks import load as load_in_chainer

    network = load_in_chainer(checkpoint)
    chainer = importlib.import_module("chainer")  # mended by then

    def answer(inputs: Outputs) -> Outputs:
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            outputs: Outputs = network(inputs).array
        return outputs

    return answer


def from_jpegs(pictures: int, network: str) -> list[Row]:
    """Measures the whole way of persons in JPEGs of 1280 x 720 to joints, over its two halves.

    Both need processors: where there are no others, at most as many persons come through as by one half after the
    other; and that is nearly as many as by the network alone where that takes nearly all of the time.

    Args:
        pictures: How many.
        network: A full-size network of this name.
    """
    architecture = Architecture.full_size(network, generated.JOINTS, writer="chainer-7.8.1")
    pose = Pose(checkpoint_of(architecture), "auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv = generated.write(folder, pictures)

        def dataset() -> PoseDataset:
            return PoseDataset(csv, images=folder, skeleton="mpii", cache=0)

        inputs, _, _ = next(iter(batches(dataset(), 32)))
        sample = range(min(pictures, 200))

        def decoding() -> float:
            start = time.perf_counter()
            for batch in batches(dataset(), 32, sample):
                del batch
            return len(sample) / (time.perf_counter() - start)

        def network_alone() -> float:
            start = time.perf_counter()
            for _ in range(0, len(sample), len(inputs)):
                pose(inputs)
            return -(-len(sample) // len(inputs)) * len(inputs) / (time.perf_counter() - start)

        def whole() -> float:
            start = time.perf_counter()
            evaluate(pose, dataset())
            return pictures / (time.perf_counter() - start)

        decoded, answered = (max(rates) for rates in take_turns(2, decoding, network_alone))
        rate = whole()
    what = f"from JPEGs to joints, {pictures:,} persons, {network} by {pose.engine or pose.backend}"
    slower, both = min(decoded, answered), 1 / (1 / decoded + 1 / answered)
    found = [Row(f"{what}, over one half after the other", rate, both, "/s", "ratio", ">=", 0.8)]
    if answered < decoded / 4:
        found.append(Row(f"{what}, over the network alone", rate, slower, "/s", "ratio", ">=", 0.8))
    return found


_ALONE = """
import json, sys
import cv2, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = cv2.imread(sys.argv[2])
crop = cv2.resize(image, (220, 220)).astype(np.float32)
crop = (crop - crop.mean((0, 1))) / (crop.std((0, 1)) + 1e-5)
(joints,) = session.run(None, {"inputs": crop.transpose(2, 0, 1)[None]})
points = (joints.reshape(-1, 2) + 0.5) * image.shape[1::-1]
for x, y in points:
    cv2.circle(image, (int(x), int(y)), 4, (0, 0, 255), -1)
cv2.imwrite(sys.argv[3] + "/drawn.png", image)
with open(sys.argv[3] + "/points.json", "w") as file:
    json.dump(points.tolist(), file)
"""


def start_up(rounds: int = 5) -> list[Row]:
    """Measures `predict` on one picture, from its start to its end, over onnxruntime doing the same."""
    root = Path(__file__).resolve().parents[1]
    checkpoint, picture = root / "examples/astronaut/epoch-300.model", root / "examples/pictures/astronaut.png"
    with tempfile.TemporaryDirectory() as name:
        model, out, program = Path(name) / "a.onnx", Path(name) / "out", Path(name) / "alone.py"
        command = [sys.executable, "-m", "deeppose_port"]
        subprocess.run(
            [*command, "-q", "convert", str(checkpoint), "-o", str(model)], check=True, cwd=root, capture_output=True
        )
        program.write_text(_ALONE, encoding="utf-8")
        ours = [*command, "-q", "predict", str(checkpoint), str(picture), "-o", str(out), "--force"]
        alone = [sys.executable, str(program), str(model), str(picture), name]
        mine, theirs = (
            usages[1:] for usages in take_turns(1 + rounds, lambda: usage_of(ours), lambda: usage_of(alone))
        )
    what = "predict on one picture, from its start to the written file, over onnxruntime alone"

    def row(unit: str, of: Callable[[Usage], float]) -> Row:
        return Row(f"{what}: {unit}", min(map(of, mine)), min(map(of, theirs)), "s", "ratio", "<=", 1.5)

    return [row("time", lambda usage: usage.seconds), row("of processors", lambda usage: usage.cpu_seconds)]
