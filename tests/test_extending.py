"""What a newcomer adds, added here from outside in the stated number of places, and used."""

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

import converters
import deeppose_port
from converters import DeepPoseError, Preprocessing, formats, values
from converters.families import Family
from converters.formats import FORMATS
from converters.networks import OUTPUTS, Convolution, Flatten, GlobalAveragePooling, Linear, MaxPooling, ReLU
from deeppose_port import backends
from deeppose_port.cli import cli, main
from deeppose_port.cli.command import command
from deeppose_port.cli.options import ReadingOptions
from deeppose_port.data import PoseDataset, skeletons
from deeppose_port.data.prepare import DATASETS, DataSet
from deeppose_port.data.prepare.source import Annotation, Source, pictures_of
from deeppose_port.metrics.registry import METRICS, Metric, register
from deeppose_port.metrics.tallies import Tally
from deeppose_port.options import described
from tests.conftest import PICTURES
from tests.helpers.checkpoint_files import assert_same_arrays, let_write
from tests.helpers.families import registered
from tests.helpers.layers import maps_of, network_of
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import run as trained
from tests.hostile import fuzz


class TestFamily:
    """An architecture, a fork or a port: one value."""

    family = Family(
        name="toy",
        title="somebody's student",
        recognised="`toy.*`",
        done="a convolution and two layers",
        tables={
            "toynet": (
                *(Convolution("conv", 16, 5, 2, 2), ReLU(), MaxPooling(2, 2, cover_all=False), GlobalAveragePooling()),
                *(Linear("hidden", 32), ReLU(), Linear("out", OUTPUTS)),
            )
        },
        naming={"short": {"toynet": ((r"^hidden\.", "h."), (r"^out\.", "o."))}},
        wrappers=("toy.",),
        preprocessing=Preprocessing(im_size=64, gcn="none", colour="RGB", part="picture", scale=255.0, frame="unit"),
        by_joints={2: Preprocessing(im_size=32, gcn="none", part="picture", joints=("hand", "foot"))},
        engines=("torch",),
        notice="nobody knows its inputs",
    )

    @pytest.fixture(autouse=True)
    def added(self):
        with registered(self.family):
            yield

    def network(self, joints):
        nn = pytest.importorskip("torch.nn")

        class Toy(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.h, self.o = nn.Conv2d(3, 8, 5, 2, 2), nn.Linear(8, 12), nn.Linear(12, 2 * joints)

            def forward(self, x):
                x = nn.functional.max_pool2d(self.conv(x).relu(), 2).mean((2, 3))
                return self.o(self.h(x).relu())

        return Toy().eval()

    def test_a_file_of_it_is_read_and_answers(self, tmp_path):
        import torch

        network = self.network(joints=3)
        torch.save({f"toy.{key}": tensor for key, tensor in network.state_dict().items()}, tmp_path / "student.pth")
        pose = deeppose_port.load(tmp_path / "student.pth")
        assert pose.checkpoint.architecture.name == "toynet"
        assert pose.checkpoint.source.generation == "toy"
        assert pose.checkpoint.source.wrappers == ("toy.",)
        assert pose.checkpoint.source.writer == "torch"
        assert pose.preprocessing == self.family.preprocessing
        assert "nobody knows its inputs" in pose.checkpoint.notices
        inputs = np.random.RandomState(0).randn(2, 3, 64, 64).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(pose(inputs), expected, rtol=0, atol=1e-6 * np.abs(expected).max())

    def test_a_number_of_joints_may_have_other_inputs(self, tmp_path):
        import torch

        torch.save(self.network(joints=2).state_dict(), tmp_path / "student.pth")
        assert converters.read(tmp_path / "student.pth").preprocessing == self.family.by_joints[2]

    def test_what_it_became_is_read_again(self, tmp_path):
        import torch

        torch.save(self.network(joints=3).state_dict(), tmp_path / "student.pth")
        converters.convert(tmp_path / "student.pth", tmp_path / "a.safetensors")
        inspection = converters.inspect(tmp_path / "a.safetensors")
        assert inspection.generation.name == "own"
        assert inspection.checkpoint.architecture == converters.read(tmp_path / "student.pth").architecture


class TestLayer:
    """A kind of layer: one class with a formula."""

    @pytest.fixture(autouse=True)
    def kind(self):
        from converters.networks.formula import FORMULAS, Formula, Learned

        @values.dataclass(frozen=True)
        class Stretch(Formula):
            name: str
            power: float = 1.0

            def tensors(self, value):
                return {f"{self.name}.gain": Learned(value[:1], (*value[:1], *(1,) * len(value[1:])), "gain", (1.0,))}

            def formula(self, arrays, x, value, tensors):
                bent = arrays.function("erf", arrays.affine(x, self.power, 0.5))
                return arrays.add(x, arrays.multiply(bent, tensors[f"{self.name}.gain"]))

        yield Stretch
        del FORMULAS["Stretch"]

    @pytest.mark.parametrize("backend", ["torch", "chainer", "onnx"])
    def test_every_engine_computes_it_and_every_format_keeps_it(self, kind, backend, tmp_path):
        torch = pytest.importorskip("torch")
        if importlib.util.find_spec({"onnx": "onnxruntime"}.get(backend, backend)) is None:
            pytest.skip(f"{backend} is not installed")
        checkpoint, inputs = network_of(kind("mid", 2.0), Flatten(), Linear("fc", 4), joints=2, height=13, width=13)
        checkpoint = checkpoint.replace(preprocessing=Preprocessing(im_size=13))
        maps, w = torch.from_numpy(maps_of(inputs)), {k: torch.tensor(v) for k, v in checkpoint.weights.items()}
        bent = maps + torch.erf(2 * maps + 0.5) * w["mid.gain"][:, None, None]
        expected = torch.nn.functional.linear(bent.flatten(1), w["fc.weight"], w["fc.bias"]).numpy()
        for suffix in (".pt", ".safetensors", ".npz"):
            converters.write(checkpoint, tmp_path / f"model{suffix}")
            read = converters.read(tmp_path / f"model{suffix}")
            assert read.architecture.layers == checkpoint.architecture.layers
            assert_same_arrays(read.weights, checkpoint.weights)
            outputs = deeppose_port.load(read, backend=backend)(inputs)
            np.testing.assert_allclose(outputs, expected, rtol=2e-6, atol=2e-6)
        with np.load(tmp_path / "model.npz") as arrays:
            assert "predictor/mid/gain" in arrays
        if backend == "torch":
            converters.write(checkpoint, tmp_path / "net.module", format="pytorch-module")


class TestFormat:
    """A file format: one module, and the line that imports it."""

    @pytest.fixture(autouse=True)
    def added(self):
        yield importlib.import_module("tests.helpers.toy_format")
        del FORMATS["toy"], sys.modules["tests.helpers.toy_format"]

    @pytest.fixture
    def model(self, golden, tmp_path):
        for suffix in ("model", "state"):
            shutil.copy(golden / "checkpoints" / "1.13.0" / "alexnet-adam" / f"epoch-1.{suffix}", tmp_path)
        return tmp_path / "epoch-1.model"

    def test_it_is_written_verified_and_read_again(self, model, capsys):
        assert main(["convert", str(model), "-o", str(model.with_suffix(".toy"))]) == 0
        said = capsys.readouterr()
        assert "(toy; read again, every byte equal)" in said.out
        assert "toy holds weights only: the optimizer's state was left out; pt and chainer-npz take it" in said.err
        checkpoint, expected = converters.read(model.with_suffix(".toy")), converters.read(model, state=False)
        assert checkpoint.source.format == "toy"
        assert checkpoint.source.generation == "own"
        assert checkpoint.preprocessing == expected.preprocessing
        assert_same_arrays(checkpoint.weights, expected.weights)
        assert converters.inspect(model.with_suffix(".toy")).format == "toy"
        assert "toy" in fuzz.kinds()
        assert fuzz.seeds("toy", model.parent)[0].startswith(b"TOY 1")

    def test_its_name_is_known_wherever_formats_are_named(self, model):
        assert converters.default_target(model, "toy") == model.with_suffix(".toy")
        converters.convert(model, format="toy")
        assert converters.checkpoints_in(model.parent, "toy") == [model]
        assert set(converters.checkpoints_in(model.parent, "pt")) == {model, model.with_suffix(".toy")}
        assert converters.default_target(model.with_suffix(".toy"), "safetensors") == model.with_suffix(".safetensors")
        with pytest.raises(ValueError, match=r"no format 'tot' to write; there are .*, toy"):
            converters.convert(model, format="tot")

    def test_what_does_not_read_back_is_not_kept(self, model, added, monkeypatch):
        def forgetful(checkpoint, path, *, layout=None):
            weights = {**checkpoint.weights, "fc8.bias": checkpoint.weights["fc8.bias"] + 1}
            added.write(checkpoint.replace(weights=weights), path)

        let_write(monkeypatch, "toy", forgetful)
        with pytest.raises(converters.CheckpointError, match=r"does not read back the same: fc8\.bias"):
            converters.convert(model, format="toy")
        assert not model.with_suffix(".toy").exists()

    def test_several_are_written_in_several_processes(self, model):
        other = shutil.copy(model, model.with_name("epoch-2.model"))
        files = [(path, path.with_suffix(".toy")) for path in (model, other)]
        reports = list(converters.convert_several(files, processes=2, format="toy"))
        assert [(report.output_format, report.verified) for report in reports] == [("toy", True)] * 2

    def test_two_of_one_name_or_suffix_are_refused(self, added):
        for name, suffix in (("toy", ".other"), ("other", ".toy")):
            with pytest.raises(ValueError, match="already"):
                formats.register(replace(FORMATS["toy"], name=name, suffixes=(suffix,)))


def worst_joints(poses):
    """Tally of each person's largest error."""
    errors = np.where(poses.visible, np.linalg.norm(poses.predicted - poses.true, axis=2), 0)
    return Tally.of(errors.max(axis=1, keepdims=True), poses.visible.any(axis=1, keepdims=True))


class TestMetric:
    """A metric: one row."""

    row = Metric(
        "worst_px",
        "Worst joint",
        "The largest error of each person, mean of the persons.",
        worst_joints,
        unit="px",
        better="lower",
        columns="person",
        references=(("Toy et al., 2026", "https://example.org/toy"),),
    )
    data = ("--csv", PICTURES / "free.csv", "--images", PICTURES, "--skeleton", "flic")

    @pytest.fixture(autouse=True)
    def added(self):
        register(self.row)
        yield
        del METRICS[self.row.key]

    @pytest.fixture
    def checkpoint(self, tmp_path):
        converters.write(random_checkpoint(), tmp_path / "old.pt")
        return tmp_path / "old.pt"

    @pytest.fixture
    def run(self, capsys):
        def run(*arguments, status=0):
            assert main([*map(str, arguments), *map(str, self.data)]) == status
            return capsys.readouterr().out

        return run

    @pytest.fixture
    def expected(self, checkpoint):
        """The mean of the persons' largest errors."""
        dataset = PoseDataset(PICTURES / "free.csv", images=PICTURES, skeleton="flic")
        pose = deeppose_port.load(checkpoint)
        points = [dataset.view(i).points(pose(dataset[i][0][None])[0]) for i in range(len(dataset))]
        return np.where(dataset.visible, np.linalg.norm(points - dataset.joints, axis=2), 0).max(axis=1).mean()

    def test_eval_shows_it_in_table_json_and_report(self, run, checkpoint, expected, tmp_path):
        assert json.loads(run("eval", checkpoint, "--json"))["worst_px"] == pytest.approx(expected)
        shown = run("eval", checkpoint, "--report", tmp_path / "page")
        (line,) = [line for line in shown.splitlines() if line.split()[:2] == ["Worst", "joint"]]
        assert line.split()[2:] == [f"{expected:.2f}", "px"]
        page = (tmp_path / "page" / "index.html").read_text()
        assert f'<th scope="row">Worst joint</th><td>{expected:.2f} px</td>' in page
        assert 'mean of the persons. <a href="https://example.org/toy" rel="noreferrer">Toy et al., 2026</a>' in page

    def test_intervals_hold_it(self, run, checkpoint, expected):
        low, high = json.loads(run("eval", checkpoint, "--json", "--bootstrap", 50))["bootstrap"]["intervals"][
            "worst_px"
        ]
        assert low < expected < high

    def test_compare_sets_it_beside_the_other_side_s(self, run, checkpoint, expected, tmp_path):
        old = random_checkpoint()
        bias = old.weights["fc8.bias"] + np.float32(1)
        converters.write(old.replace(weights={**old.weights, "fc8.bias": bias}), tmp_path / "new.pt")
        row = json.loads(run("compare", checkpoint, tmp_path / "new.pt", "--json", status=1))["metrics"]["worst_px"]
        assert row["old"] == pytest.approx(expected)
        assert row["difference"] == row["new"] - row["old"] != 0

    def test_training_follows_it_to_choose_the_best(self, tmp_path):
        pytest.importorskip("torch")
        told = trained(
            tmp_path, PICTURES, test_csv=PICTURES / "free.csv", epochs=3, snapshot=3, best="worst_px", opt="Adam"
        )
        values = [entry["validation/main/worst_px"] for entry in told.entries if "validation/main/worst_px" in entry]
        assert len(values) == 3
        best = converters.read(tmp_path / "results" / "best.pt")
        assert best.progress.epoch == 1 + values.index(min(values))


TOY_BACKEND = '''
"""A backend that answers the mean of what its last layer is made of, and trains by going half of the way to it."""

import numpy as np

from converters import Progress
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.training.events import Events, Update


def build(architecture):
    return architecture


class Toy:
    def __init__(self, checkpoint):
        self.bias = checkpoint.weights["fc8.bias"]
        self.layers = checkpoint.architecture.layers

    def __call__(self, inputs):
        return np.tile(self.bias, (len(inputs), 1))

    def activations(self, inputs, nudged=False):
        yield from ()


def predictor(checkpoint, device="cpu", relu_nan="nan"):
    return Toy(checkpoint)


class Trainer:
    def __init__(self, run):
        self.run, self.epoch, self.checkpoint_ = run, 0, run.start.checkpoint

    def predictions(self):
        return predictions_of(Toy(self.checkpoint_), self.run.test)

    def answers(self, inputs):
        return Toy(self.checkpoint_)(inputs)

    def activations(self, inputs):
        return iter(())  # it has no layers

    def checkpoint(self):
        return self.checkpoint_.replace(progress=Progress(self.epoch, self.epoch))

    def agreed(self, asked):
        return asked


def train(run):
    trainer = Trainer(run)
    with Events(run, trainer, "toy version: 1", run.folder.earlier_log(run.start)) as events:
        targets = np.stack([run.train[i][1] for i in range(len(run.train))]).mean(axis=0)
        while not events.ended:
            weights = dict(trainer.checkpoint_.weights)
            weights["fc8.bias"] = ((weights["fc8.bias"] + targets) / 2).astype(np.float32)
            trainer.checkpoint_ = trainer.checkpoint_.replace(weights=weights)
            trainer.epoch += 1
            loss = float(np.mean((weights["fc8.bias"] - targets) ** 2))
            events.after(
                Update((trainer.epoch - 1, trainer.epoch), trainer.epoch, trainer.epoch, loss, 0.5, len(run.train), 0.0)
            )
'''
TOY_PROBE = """
from deeppose_port.backends.installed import Problem
from deeppose_port.backends.protocol import Probe


def examine(device):
    return Probe(None if device == "cpu" else Problem("a toy has no GPU", "--device cpu"))
"""


class TestBackend:
    """A backend: a package, and a line in the list."""

    line = backends.Description(
        "toy", "Toy", package="toy_engine", distribution="numpy", roots=("toy_engine",), abilities=frozenset({"train"})
    )
    data = ("--images", PICTURES, "--skeleton", "flic")

    @pytest.fixture(autouse=True)
    def added(self, tmp_path, monkeypatch):
        package = tmp_path / "toy_engine"
        package.mkdir()
        (package / "__init__.py").write_text(TOY_BACKEND)
        (package / "probe.py").write_text(TOY_PROBE)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(backends.BACKENDS, "toy", self.line)
        yield
        for name in ("toy_engine", "toy_engine.probe"):
            sys.modules.pop(name, None)

    @pytest.fixture
    def checkpoint(self, tmp_path):
        converters.write(random_checkpoint(), tmp_path / "old.pt")
        return tmp_path / "old.pt"

    def test_it_answers(self, checkpoint):
        pose = deeppose_port.load(checkpoint, backend="toy")
        bias = pose.checkpoint.weights["fc8.bias"]
        assert np.array_equal(pose(np.zeros((2, 3, 220, 220), np.float32)), [bias, bias])

    def test_eval_names_it_and_its_engine(self, checkpoint, tmp_path, capsys):
        arguments = ("--csv", PICTURES / "free.csv", *self.data, "--backend", "toy", "--report", tmp_path / "page")
        assert main(["eval", *map(str, (checkpoint, *arguments)), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["backend"] == "toy"
        page = re.sub("<[^>]+>", " ", (tmp_path / "page" / "index.html").read_text())
        assert f"Toy {np.__version__}" in " ".join(page.split())

    def test_it_trains_with_all_events(self, tmp_path):
        options = {"test_csv": PICTURES / "free.csv", "epochs": 9, "patience": 3, "keep": 2, "lr": 0.5}
        told = trained(tmp_path, PICTURES, "toy", **options)
        assert [step.iteration for step in told.steps] == list(range(1, len(told.steps) + 1))
        losses = [entry["validation/main/loss"] for entry in told.entries]
        best = converters.read(tmp_path / "results" / "best.pt")
        assert best.progress.epoch == 1 + losses.index(min(losses))
        assert len(list((tmp_path / "results").glob("epoch-*.pt"))) == 2

    def test_what_it_cannot_is_refused_with_who_can(self, tmp_path):
        with pytest.raises(DeepPoseError, match="--amp: only with --backend torch"):
            trained(tmp_path, PICTURES, "toy", amp="bf16")

    def test_doctor_examines_it(self, capsys):
        assert main(["doctor", "--backend", "toy", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        (row,) = (row for row in found["rows"] if row["what"] == "Toy")
        assert (found["runs"], row["found"], row["verdict"]) == (True, np.__version__, "ok")
        assert main(["doctor", "--backend", "toy", "--device", "cuda"]) == 1
        assert "a toy has no GPU" in " ".join(capsys.readouterr().out.split())

    def test_help_lists_it(self, capsys, monkeypatch):
        for name in ("eval", "train", "doctor"):
            monkeypatch.setattr(cli.commands[name], "params", [])  # made once a process
        assert main(["eval", "--help"]) == main(["train", "--help"]) == main(["doctor", "--help"]) == 0
        assert capsys.readouterr().out.count("|toy") == 3


class TestCommand:
    """A command: a module with a dataclass and a function, and a line in `cli`."""

    def test_it_is_listed_explained_and_run(self, tmp_path, monkeypatch, capsys):
        @dataclass(frozen=True, kw_only=True)
        class GreetOptions:
            names: tuple[str, ...] = described("Whom.", names=("NAME",))
            times: int = described("How often.", default=1)
            reading: ReadingOptions

        @command(lambda: GreetOptions)
        def greet(options: GreetOptions) -> int:
            """Greets."""
            if options.times < 1:
                raise DeepPoseError("nobody can be greeted less than once", advice="leave --times out")
            print(f"{options.times} x {' and '.join(options.names)}, {options.reading.nonfinite}")
            return 0

        monkeypatch.setitem(cli.commands, "greet", greet)
        assert main(["greet", "Ada", "Grace", "--times", "2", "--nonfinite", "keep"]) == 0
        assert capsys.readouterr().out == "2 x Ada and Grace, keep\n"
        assert main(["greet", "Ada", "--times", "0"]) == 2
        assert capsys.readouterr().err == "error: nobody can be greeted less than once (leave --times out)\n"
        assert main(["--help"]) == main(["greet", "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "greet Greets." in shown
        assert "--times INTEGER How often. [default: 1]" in shown


class TestSkeleton:
    """A skeleton: one row, or one small file of a user's own."""

    ROW = skeletons.Skeleton(
        name="hand", joints=("wrist", "left finger", "right finger"), symmetric_pairs=((1, 2),), limbs=((0, 1), (0, 2))
    )
    FILE = """{"joints": ["wrist", "left finger", "right finger"],
               "limbs": [["wrist", "left finger"], ["wrist", "right finger"]]}"""

    @pytest.fixture(params=["a row", "a file"])
    def named(self, request, tmp_path, monkeypatch):
        if request.param == "a file":
            (tmp_path / "hand.json").write_text(self.FILE)
            return str(tmp_path / "hand.json")
        monkeypatch.setattr(skeletons, "SKELETONS", {**skeletons.SKELETONS, "hand": self.ROW})
        return "hand"

    def test_a_csv_of_it_is_evaluated_trained_on_and_drawn(self, named, tmp_path, capsys):
        places = np.random.RandomState(0).uniform(50, 400, (6, 6)).round(1)
        csv = tmp_path / "hands.csv"
        csv.write_text("".join(f"astronaut.png,{','.join(map(str, row))}\n" for row in places.tolist()))
        persons = ("--images", str(PICTURES), "--skeleton", named)
        network = ("--width", "8,12,16,16,12,32,32", "--epochs", "1", "--batch-size", "2", "--fliplr")
        results = tmp_path / "results"
        assert (
            main(["train", "--backend", "torch", "--train-csv", str(csv), *persons, *network, "-o", str(results)]) == 0
        )
        capsys.readouterr()
        trained = str(results / "epoch-1.pt")
        assert main(["eval", trained, "--csv", str(csv), *persons, "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["error_px"]) == [*self.ROW.joints, "total"]
        drawn = ["predict", trained, str(PICTURES / "astronaut.png"), "-o", str(tmp_path / "out"), "--skeleton", named]
        assert main(drawn) == 0
        assert json.loads((tmp_path / "out" / "predictions.json").read_text())["joints"] == list(self.ROW.joints)


class TestDataSet:
    """A data set for `prepare`: a module with a reader, and a row."""

    def read(self, source, wanted):
        lines = [line.split() for line in (source / "points.txt").read_text().splitlines()]
        persons = [Annotation(name, np.array(numbers, float).reshape(-1, 2)) for name, *numbers in lines]
        splits = {"train": persons[:-1], "test": persons[-1:]}
        return Source("lsp", splits, "http://example.org/toy", pictures=pictures_of(source / "points.txt", wanted))

    def test_it_is_prepared(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(DATASETS, "toy", DataSet(self.read))
        points = np.random.RandomState(0).uniform(1, 400, (4, 28)).round(2)
        rows = [f"astronaut.png {' '.join(map(str, row))}" for row in points.tolist()]
        (tmp_path / "points.txt").write_text("\n".join(rows))
        out = tmp_path / "out"
        assert main(["prepare", "toy", str(tmp_path), str(out), "--images", str(PICTURES), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["persons"] == {"train": 3, "test": 1}
        dataset = PoseDataset(out / "test_joints.csv", images=PICTURES, skeleton="lsp")
        assert dataset.joints[0].ravel().tolist() == points[3].tolist()
