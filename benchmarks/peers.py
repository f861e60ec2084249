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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import generated
from benchmarks.forward import PlainAlexNet
from benchmarks.timing import Row, take_turns, usage_of
from converters import Architecture, Checkpoint, Preprocessing, Source
from deeppose_port import backends
from deeppose_port.backends.torch import load
from deeppose_port.data import PoseDataset
from deeppose_port.data.batches import batches
from deeppose_port.data.pictures import read_picture
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.pose import Pose

Outputs = npt.NDArray[np.float32]
Answer = Callable[[Outputs], Outputs]

NETWORKS = ("alexnet", "vgg_bn", "resnet50")
BATCHES = (1, 32)
THREADS = (1, 2)
#: Seconds for the whole table, rounds of a cell, and persons of the way from JPEGs to joints.
SECONDS, ROUNDS, PICTURES = 240.0, 7, 1000
#: Ours may be so much slower than the same engine alone, which noise makes it.
NOISE = 0.97


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


def run() -> list[Row]:
    """Measures the table, the way from JPEGs to joints, and the start of `predict`."""
    start = time.perf_counter()
    cells: list[Cell] = []
    total = len(NETWORKS) * len(THREADS)
    for i, (network, threads) in enumerate((n, t) for n in NETWORKS for t in THREADS):
        left = SECONDS - (time.perf_counter() - start)
        architecture = Architecture.full_size(network, 16, writer="chainer-7.8.1")
        cells += measure(checkpoint_of(architecture), threads, BATCHES, ROUNDS, left / (total - i))
    Console(width=None if sys.stdout.isatty() else 160).print(table(cells))
    return [*rows(cells), *from_jpegs(PICTURES), start_up()]


def rows(cells: list[Cell]) -> list[Row]:
    """Returns the rows with bounds: our best over the best peer, PyTorch over it, and the answers' differences."""
    found = []
    for cell in cells:
        what = f"{cell.network}, batch {cell.batch}, {cell.threads} threads"
        peer = cell.rates[cell.peer]
        found.append(Row(f"{what}: {cell.ours}, {cell.peer}", cell.rates[cell.ours], peer, "/s", "ratio", ">=", NOISE))
        found.append(
            Row(f"{what}: ours, PyTorch, {cell.peer}", cell.rates["ours, PyTorch"], peer, "/s", "ratio", ">=", 0.75)
        )
    worst = max(difference for cell in cells for name, difference in cell.differences.items() if name[:4] == "ours")
    return [
        *found,
        Row("peers: largest difference of our answers, in millionths", worst * 1e6, None, "", "ours", "<=", 10),
    ]


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
    checkpoint: Checkpoint, threads: int, batch_sizes: tuple[int, ...], rounds: int, seconds: float
) -> list[Cell]:
    """Measures every candidate on one network with so many threads.

    Args:
        checkpoint: The network.
        threads: Of each candidate.
        batch_sizes: Pictures at a time.
        rounds: How often each candidate answers, at most.
        seconds: How long all of it takes, about; a round that was begun is ended, and there is one at least.
    """
    start, cells = time.perf_counter(), []
    with _threads(threads):
        candidates = dict(_candidates(checkpoint, threads))
        for i, batch in enumerate(batch_sizes):
            shape = (batch, 3, *checkpoint.preprocessing.shape)
            inputs = np.random.default_rng(batch).standard_normal(shape, np.float32)
            here = {n: c for n, c in candidates.items() if batch == 1 or "Chainer" not in n}  # which takes minutes
            answers = {name: answer(inputs).copy() for name, answer in here.items()}
            for answer in here.values():
                answer(inputs)  # ours in PyTorch measures its memory format in its second call
            expected = answers["PyTorch alone"]
            left = (seconds - (time.perf_counter() - start)) / (len(batch_sizes) - i)
            best = dict.fromkeys(here, float("inf"))
            began = time.perf_counter()
            for done in range(rounds):
                if done and (time.perf_counter() - began) * (done + 1) / done > left:
                    break
                for name, answer in here.items():
                    before = time.perf_counter()
                    answer(inputs)
                    best[name] = min(best[name], time.perf_counter() - before)
            scale = float(np.abs(expected).max())
            cells.append(
                Cell(
                    checkpoint.architecture.name,
                    batch,
                    threads,
                    {name: batch / second for name, second in best.items()},
                    {name: float(np.abs(answer - expected).max()) / scale for name, answer in answers.items()},
                )
            )
    return cells


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
    for backend in backends.BACKENDS.values():
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
    if importlib.util.find_spec("chainer") is not None:
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
    import openvino

    core = openvino.Core()
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


def from_jpegs(pictures: int, architecture: Architecture | None = None) -> list[Row]:
    """Measures the whole way of persons in JPEGs of 1280 x 720 to joints, over the slower of its two halves.

    Args:
        pictures: How many.
        architecture: The network; None for the full-size AlexNet.
    """
    network = architecture or Architecture.full_size("alexnet", generated.JOINTS, writer="chainer-7.8.1")
    pose = Pose(checkpoint_of(network), "auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv = generated.write(folder, pictures)

        def dataset() -> PoseDataset:
            return PoseDataset(csv, images=folder, skeleton="mpii", cache=0)

        inputs, _, _ = next(iter(batches(dataset(), 32)))
        sample = range(min(pictures, 200))
        files = [folder / f"{i:06}.jpg" for i in sample]

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

        read_picture(files[0])
        halves = take_turns(2, decoding, network_alone)
        rate = whole()
    slower = min(max(rates) for rates in halves)
    title = f"{pose.engine or pose.backend}"
    return [
        Row(
            f"from JPEGs to joints, {pictures:,} persons, AlexNet by {title}, over the slower of decoding and network",
            rate,
            slower,
            "/s",
            "ratio",
            ">=",
            0.8,
        )
    ]


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


def start_up(rounds: int = 5) -> Row:
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
        mine, theirs = take_turns(1 + rounds, lambda: usage_of(ours).seconds, lambda: usage_of(alone).seconds)
    what = "predict on one picture, from its start to the written file, over onnxruntime alone"
    return Row(what, min(mine[1:]), min(theirs[1:]), "s", "ratio", "<=", 1.5)
