"""What programs and scripts of users rely on stays: signatures, options, JSON keys, files' keys.

The golden data in tests/golden/public_face say what there has to be at least: names, options and keys may be added,
none may vanish, be renamed or have another default or type. After an addition that is meant to stay, write them anew
and read the difference:

    python -m tests.test_public_face --write

Only the public face is imported here, so that modules behind it may move.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import inspect
import io
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port import metrics
from deeppose_port.cli import cli, main
from deeppose_port.data import PoseDataset
from deeppose_port.metrics.evaluation import Evaluation

TESTS = Path(__file__).resolve().parent
GOLDEN = TESTS / "golden" / "public_face"
CHECKPOINTS = TESTS / "golden" / "checkpoints"
EXAMPLES = TESTS.parent / "examples"
PICTURES = EXAMPLES / "pictures"

#: A narrow network of FLIC's 7 joints, and two of MPII's 16 with their optimizers' state.
ASTRONAUT = EXAMPLES / "astronaut" / "epoch-300.model"
ADAM = CHECKPOINTS / "1.13.0" / "alexnet-adam" / "epoch-1.model"
ADAGRAD = CHECKPOINTS / "1.13.0" / "alexnet-adagrad" / "epoch-1.model"
FREE = ("--csv", PICTURES / "free.csv", "--images", PICTURES, "--skeleton", "flic")
NARROW = "8,12,16,16,12,32,32"


# --- Python ----------------------------------------------------------------------------------------------------------


def signature_of(function: Callable[..., Any]) -> dict[str, str]:
    """Returns the parameters by name, in their order: how each is given, and its default."""
    described = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = parameter.default.__name__ if inspect.isroutine(parameter.default) else repr(parameter.default)
        default = "" if parameter.default is parameter.empty else f" = {value}"
        described[name] = f"{parameter.kind.description}{default}"
    return described


def signatures() -> dict[str, dict[str, str]]:
    """Returns the signatures of the public functions and constructors."""
    public = {f"converters.{name}": getattr(converters, name) for name in converters.__all__}
    public |= {f"deeppose_port.metrics.{name}": getattr(metrics, name) for name in metrics.__all__}
    public |= {
        "converters.Architecture.full_size": converters.Architecture.full_size,
        "converters.Architecture.of": converters.Architecture.of,
        "converters.Preprocessing.overridden": converters.Preprocessing.overridden,
        "deeppose_port.Pose": deeppose_port.Pose,
        "deeppose_port.Pose.__call__": deeppose_port.Pose.__call__,
        "deeppose_port.Pose.draw": deeppose_port.Pose.draw,
        "deeppose_port.Pose.from_pretrained": deeppose_port.Pose.from_pretrained,
        "deeppose_port.Pose.predict": deeppose_port.Pose.predict,
        "deeppose_port.Pose.save_pretrained": deeppose_port.Pose.save_pretrained,
        "deeppose_port.cli.main": main,
        "deeppose_port.data.PoseDataset": PoseDataset,
        "deeppose_port.load": deeppose_port.load,
        "deeppose_port.metrics.evaluation.Evaluation.to_frame": Evaluation.to_frame,
    }
    return {name: signature_of(value) for name, value in public.items() if callable(value)}


def records() -> dict[str, list[str]]:
    """Returns the fields of the public dataclasses."""
    public = {name: getattr(converters, name) for name in converters.__all__}
    return {name: [f.name for f in fields(value)] for name, value in public.items() if is_dataclass(value)}


def architectures() -> dict[str, dict[str, Any]]:
    """Returns every architecture at full size, for 7 joints."""
    with pytest.raises(ValueError, match="there are ") as refusal:
        converters.Architecture("?", 7)
    names = str(refusal.value).partition("there are ")[2].split(", ")
    return {name: converters.Architecture.full_size(name, 7).as_dict() for name in names}


def python_face() -> dict[str, Any]:
    """Returns what there is to import and call."""
    return {
        "architectures": architectures(),
        "names": {m.__name__: sorted(m.__all__) for m in (converters, deeppose_port, metrics)},
        "records": records(),
        "signatures": signatures(),
    }


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> dict[str, dict[str, Any]]:
    """Returns the arguments and options of every command, an option under all its spellings."""
    return dict(_commands(cli, "", None))


def _commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, dict[str, Any]]]:
    context = click.Context(command, parent, name, **command.context_settings)
    options, arguments = {}, []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            spellings = sorted(parameter.opts) + [f"not {no}" for no in sorted(parameter.secondary_opts)]
            options[", ".join(spellings)] = {
                "default": _default(parameter, context),
                "required": parameter.required,
                "takes": "nothing" if parameter.is_flag or parameter.count else "a value",
                "times": "many" if parameter.multiple else "one",
            }
        else:
            arguments.append({"nargs": parameter.nargs, "required": parameter.required})
    yield name or "deeppose-port", {"arguments": arguments, "options": options}
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from _commands(child, f"{name} {child.name}".strip(), context)


def _default(option: click.Option, context: click.Context) -> Any:
    """Returns an option's default as JSON; None without one, however this version of click says so."""
    default = option.get_default(context)
    return default if isinstance(default, bool | int | float | str) and not isinstance(default, type) else None


# --- what commands write ---------------------------------------------------------------------------------------------

#: The types of a value by the path to it: keys with " > " between, [] for what a list holds.
Shape = dict[str, set[str]]


def shape_of(value: Any, path: str = "") -> Shape:
    """Returns the types of all that is in a value; what only some entries of a list have is also `absent`."""
    if isinstance(value, Mapping):
        shape: Shape = {path: {"dict"}}
        for key, inner in value.items():
            shape |= shape_of(inner, f"{path} > {key}" if path else str(key))
        return shape
    if isinstance(value, list | tuple):
        return {path: {"list"}, **_merged([shape_of(inner, f"{path}[]") for inner in value])}
    return {path: {"null" if value is None else type(value).__name__}}


def _merged(shapes: list[Shape]) -> Shape:
    paths = dict.fromkeys(path for shape in shapes for path in shape)
    return {path: set().union(*(shape.get(path, {"absent"}) for shape in shapes)) for path in paths}


def readable(shape: Shape) -> dict[str, str]:
    """Returns a shape as it stands in the golden data."""
    return {path: " | ".join(sorted(types)) for path, types in shape.items() if path}


def run(*arguments: Any, expected: int = 0) -> str:
    """Runs a command here, to the exit status that is expected; returns its standard output."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    assert status == expected, errors.getvalue()
    return output.getvalue()


def answer(*arguments: Any, expected: int = 0) -> dict[str, str]:
    """Returns the shape of the JSON object that a command shows."""
    return readable(shape_of(json.loads(run(*arguments, "--json", expected=expected))))


def mpii_persons(folder: Path) -> tuple[Any, ...]:
    """Writes persons with torsos and head boxes, without which some metrics are not defined; returns the options."""
    joints = np.random.RandomState(3).uniform(60, 440, (4, 32)).round(2)
    csv = folder / "mpii.csv"
    csv.write_text("".join(f"astronaut.png,{','.join(map(str, person))}\n" for person in joints.tolist()))
    references = {
        "format": "deeppose-port references",
        "version": 1,
        "csv_sha256": hashlib.sha256(csv.read_bytes()).hexdigest(),
        "skeleton": "mpii",
        "persons": len(joints),
        "head_sizes_from": "head boxes",
        "head_boxes": [[50, 50, 110, 130]] * len(joints),
        "head_sizes": [60.0] * len(joints),
    }
    csv.with_name("mpii.references.json").write_text(json.dumps(references))
    return "--csv", csv, "--images", PICTURES, "--skeleton", "mpii"


class Workplace:
    """A folder with what commands wrote; each is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._results: Path | None = None

    @property
    def results(self) -> Path:
        """A training of two steps."""
        if self._results is None:
            self._results = self.folder / "results"
            persons = ("--train-csv", PICTURES / "free.csv", "--test-csv", PICTURES / "free.csv", *FREE[2:])
            often = ("--epochs", 1, "--snapshot", 1, "--valid-freq", 1, "--show-log-iter", 1)
            network = ("--width", NARROW, "--batch-size", 8, "--backend", "torch")
            run("train", *persons, *often, *network, "-o", self._results)
        return self._results

    def converted(self, source: Path, suffix: str) -> Path:
        """Converts a checkpoint."""
        target = self.folder / f"{source.parent.name}{suffix}"
        if not target.exists():
            run("convert", source, "-o", target)
        return target


def log_of_training(at: Workplace) -> dict[str, str]:
    """Returns the shape of a training's log, one JSON object a line."""
    return readable(shape_of([json.loads(line) for line in (at.results / "log").read_text().splitlines()], "log"))


def predictions_file(at: Workplace) -> dict[str, str]:
    """Returns the shape of the file with predicted joints."""
    run("predict", ASTRONAUT, PICTURES / "astronaut.png", "-o", at.folder / "file")
    return readable(shape_of(json.loads((at.folder / "file" / "predictions.json").read_text()), "file"))


#: What is shown or written as JSON.
OUTPUTS: dict[str, Callable[[Workplace], dict[str, str]]] = {
    "compare": lambda at: answer("compare", ASTRONAUT, ASTRONAUT, *FREE),
    "compare, two networks": lambda at: answer("compare", ADAM, ADAGRAD, *mpii_persons(at.folder), expected=1),
    "convert": lambda at: answer("convert", ASTRONAUT, "-o", at.folder / "a.safetensors"),
    "convert, several": lambda at: answer("convert", ASTRONAUT.parent, "-o", at.folder / "several"),
    "convert, with an optimizer": lambda at: answer("convert", ADAM, "--dry-run", "-o", at.folder / "b.pt"),
    "eval, flic": lambda at: answer("eval", ASTRONAUT, *FREE, "--bootstrap", 5),
    "eval, mpii": lambda at: answer("eval", ADAM, *mpii_persons(at.folder), "--bootstrap", 5),
    "inspect": lambda at: answer("inspect", ASTRONAUT),
    "inspect, converted": lambda at: answer("inspect", at.converted(ADAM, ".pt")),
    "inspect, with an optimizer": lambda at: answer("inspect", ADAM),
    "plot": lambda at: answer("plot", at.results, "-o", at.folder / "curves.png"),
    "predict": lambda at: answer("predict", ASTRONAUT, PICTURES / "astronaut.png", "-o", at.folder / "pictures"),
    "predict, persons": lambda at: answer("predict", ASTRONAUT, *FREE, "-o", at.folder / "persons"),
    "predict, predictions.json": predictions_file,
    "train, log": log_of_training,
}


def payload_of(path: Path) -> dict[str, str]:
    """Returns the shape of a `.pt` file's payload."""
    import torch

    return readable(shape_of(torch.load(path, weights_only=True)))


def metadata_of(path: Path) -> dict[str, str]:
    """Returns the shape of what a safetensors file says of itself, where that is JSON of what the JSON holds."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()

    def decoded(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return readable(shape_of({key: decoded(text) for key, text in metadata.items()}))


#: What files hold.
FILES: dict[str, Callable[[Workplace], dict[str, str]]] = {
    "pt": lambda at: payload_of(at.converted(ASTRONAUT, ".pt")),
    "pt, of a training": lambda at: payload_of(at.results / "epoch-1.pt"),
    "pt, with an optimizer": lambda at: payload_of(at.converted(ADAM, ".pt")),
    "results": lambda at: {path.name: "file" for path in at.results.iterdir()},
    "safetensors": lambda at: metadata_of(at.converted(ASTRONAUT, ".safetensors")),
}


# --- golden data -----------------------------------------------------------------------------------------------------


@cache
def golden(name: str) -> dict[str, Any]:
    """Returns golden data; none before they were first written."""
    if __name__ == "__main__" and not (GOLDEN / f"{name}.json").exists():
        return defaultdict(dict)
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return found


def write() -> None:
    """Writes the golden data anew."""
    with tempfile.TemporaryDirectory() as folder:
        at = Workplace(Path(folder))
        faces = {
            "python": python_face(),
            "commands": commands(),
            "outputs": {name: make(at) for name, make in OUTPUTS.items()},
            "files": {name: make(at) for name, make in FILES.items()},
        }
    GOLDEN.mkdir(exist_ok=True)
    for name, face in faces.items():
        # The order of parameters and fields means something; that of all else does not.
        ordered = face if name == "python" else json.loads(json.dumps(face, sort_keys=True))
        (GOLDEN / f"{name}.json").write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def is_required(parameter: str) -> bool:
    """Tells whether a call has to give a parameter."""
    return " = " not in parameter and not parameter.startswith("variadic")


def by_position(signature: Mapping[str, str]) -> list[str]:
    """Returns the parameters that can be given by their position, in order."""
    return [name for name, described in signature.items() if described.startswith("positional")]


def missing(found: Mapping[str, str], expected: Mapping[str, str]) -> dict[str, str]:
    """Returns what is not there, or of another type than it was at times, with what is there instead."""
    wrong = {}
    for path, types in expected.items():
        now = found.get(path, "absent")
        if not set(now.split(" | ")) <= set(types.split(" | ")):
            wrong[path] = f"{now}; it was {types}"
    return wrong


# --- tests -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    pytest.importorskip("torch", reason="networks are run in PyTorch")
    return Workplace(tmp_path_factory.mktemp("public-face"))


class TestPython:
    @pytest.mark.parametrize("module", golden("python")["names"])
    def test_names_are_there(self, module: str) -> None:
        found = importlib.import_module(module)
        assert set(golden("python")["names"][module]) <= set(found.__all__)
        assert all(hasattr(found, name) for name in golden("python")["names"][module])

    @pytest.mark.parametrize("name", golden("python")["signatures"])
    def test_calls_stay_possible(self, name: str) -> None:
        expected, found = golden("python")["signatures"][name], signatures()[name]
        assert expected.items() <= found.items()
        positional = by_position(expected)
        assert by_position(found)[: len(positional)] == positional
        assert [n for n, described in found.items() if is_required(described) and n not in expected] == []

    @pytest.mark.parametrize("name", golden("python")["records"])
    def test_records_keep_their_fields(self, name: str) -> None:
        assert set(golden("python")["records"][name]) <= set(records()[name])

    @pytest.mark.parametrize("name", golden("python")["architectures"])
    def test_architectures_are_there(self, name: str) -> None:
        expected = golden("python")["architectures"][name]
        architecture = converters.Architecture.full_size(name, 7)
        assert expected.items() <= architecture.as_dict().items()
        assert converters.Architecture.of(expected) == architecture

    def test_shape_is_height_and_width(self) -> None:
        assert converters.Preprocessing(im_size=200).shape == (200, 200)
        assert converters.Preprocessing(im_size=256, im_width=192, part="letterbox").shape == (256, 192)


class TestCommands:
    @pytest.mark.parametrize("name", golden("commands"))
    def test_arguments_and_options_stay(self, name: str) -> None:
        expected, found = golden("commands")[name], commands()[name]
        assert [argument["nargs"] for argument in found["arguments"]] == [a["nargs"] for a in expected["arguments"]]
        for argument, before in zip(found["arguments"], expected["arguments"], strict=True):
            assert before["required"] or not argument["required"]
        options = {spelling: option for key, option in found["options"].items() for spelling in key.split(", ")}
        together = {spelling: set(key.split(", ")) for key in found["options"] for spelling in key.split(", ")}
        for key, option in expected["options"].items():
            spellings = key.split(", ")
            assert set(spellings) <= together.get(spellings[0], set()), key
            now = options[spellings[0]]
            assert {**now, "required": option["required"]} == option, key
            assert option["required"] or not now["required"], key  # what had to be said may be left out by now

    @pytest.mark.parametrize("name", golden("commands"))
    def test_no_new_option_is_required(self, name: str) -> None:
        known = {spelling for key in golden("commands")[name]["options"] for spelling in key.split(", ")}
        added = {k: option for k, option in commands()[name]["options"].items() if not known & set(k.split(", "))}
        assert [key for key, option in added.items() if option["required"]] == []

    def test_underscores_spell_options_too(self, tmp_path: Path) -> None:
        run("convert", ASTRONAUT, "--dry_run", "-o", tmp_path / "a.safetensors")
        assert list(tmp_path.iterdir()) == []


class TestOutputs:
    @pytest.mark.parametrize("name", OUTPUTS)
    def test_json_keeps_its_keys(self, name: str, workplace: Workplace) -> None:
        assert missing(OUTPUTS[name](workplace), golden("outputs")[name]) == {}


class TestFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_files_keep_their_keys(self, name: str, workplace: Workplace) -> None:
        assert missing(FILES[name](workplace), golden("files")[name]) == {}

    @pytest.mark.parametrize("source", [ASTRONAUT, ADAM], ids=["astronaut", "adam"])
    def test_a_payload_alone_makes_the_network(self, source: Path, workplace: Workplace) -> None:
        import torch

        from deeppose_port.backends.torch import build

        payload = torch.load(workplace.converted(source, ".pt"), weights_only=True)
        network = build(payload["architecture"])
        network.load_state_dict(payload["state_dict"], strict=True)
        side = payload["preprocessing"]["im_size"]
        with torch.inference_mode():
            outputs = network.eval()(torch.zeros(1, 3, side, side))
        assert outputs.shape == (1, 2 * payload["architecture"]["joints"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help="write the golden data anew")
    parser.parse_args()
    write()
