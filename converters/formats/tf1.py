"""TensorFlow's checkpoints of variables, as `tf.train.Saver` of TensorFlow 1 writes them; they are only read.

One checkpoint is several files: `NAME.index` says where in `NAME.data-00000-of-00001` each variable's bytes are, and
has the checksum of each (TensorFlow's `tensor_bundle.proto`); `NAME.meta` has the graph, of which only the operations
are looked at. A text file `checkpoint` names the newest checkpoint of its folder. TensorFlow has a map's channels last:
arrays come in PyTorch's order of axes, kernels as (out, in, height, width) and matrices as (out, in).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.errors import CheckpointError, reason_of
from converters.folding import fold
from converters.formats._channels_last import channels_first, pieces_channels_first
from converters.formats._leveldb import entries, is_table, masked_crc32c
from converters.formats._protobuf import fields, signed
from converters.formats._tf_graph import operations
from converters.formats.format import Beginning, Contents, Format, register
from converters.keys import Header
from converters.layouts import Sections
from converters.networks import TENSORFLOW_WRITER, Shape
from converters.values import dataclass

#: An index of 20,000 variables takes less.
_LARGEST_INDEX, _LARGEST_TEXT = 4 << 20, 1 << 20
_PART = re.compile(r"(?P<name>.+)\.(?:index|meta|data-\d{5}-of-\d{5})", re.DOTALL)
#: The newest checkpoint of a folder: the last part of its path, which may be another machine's.
_NEWEST = re.compile(r'^model_checkpoint_path: *"(?:[^"\n]*[\\/])?([^"\\/\n]+)"', re.MULTILINE)
#: The numbers of TensorFlow's `types.proto`.
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
_MOST_AXES = 8
#: What TensorFlow 2 keeps in the same files, by the names of Python objects.
_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
_ADAGRAD_START = 0.1
#: The updates that asanakoy/deeppose_tf counts, and what Adam counts.
_COUNTER, _OPTIMIZERS = "global_iter_counter", re.compile(r"(?:.*/)?(?:beta[12]_power|global_step)", re.DOTALL)
_ADVICE = "the file is damaged; look for another copy"
_IN_ONE = "load it there without a partitioner and save it again"
#: What `tf.train.ExponentialMovingAverage` calls its copies.
_AVERAGE = "/ExponentialMovingAverage"
#: The layer the way to which is looked at in a graph.
_LAST = "fc_regression/weight"
_LARGEST_GRAPH = 64 << 20


@dataclass(frozen=True)
class _Variable:
    """What the index says of a variable.

    Attributes:
        dtype: Its dtype, little-endian.
        shape: Its shape as TensorFlow has it.
        shard: Number of the data file that has it.
        offset: Where its bytes begin there.
        crc: Their masked CRC-32C.
    """

    dtype: np.dtype[np.generic]
    shape: Shape
    shard: int
    offset: int
    crc: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def index_of(path: Path) -> Path | None:
    """Returns the index that a name means: any file of a checkpoint, their common name, `checkpoint`, or its folder.

    Args:
        path: The name; no file need be there. `checkpoint` is the text that names the newest.

    Raises:
        CheckpointError: It is a `checkpoint` that names one of which there is no index.
    """
    if path.is_dir():
        return index_of(path / "checkpoint") if (path / "checkpoint").is_file() else None
    if path.name == "checkpoint" and path.is_file():
        with path.open("rb") as stream:
            newest = _NEWEST.search(stream.read(_LARGEST_TEXT).decode(errors="replace"))
        if newest is None:
            return None
        index = path.with_name(f"{newest[1]}.index")
        if not index.is_file() and path.with_name(newest[1]).is_file():
            return path.with_name(newest[1])  # of the format before, which is one file
        if not index.is_file():
            problem = f"it names {newest[1]!r}, but there is no {index.name} beside it"
            raise CheckpointError(path, problem, "name the checkpoint that is there, as checkpoint-1000")
        return index
    part = _PART.fullmatch(path.name)
    if part is None and path.exists():
        return None
    index = path.with_name(f"{part['name'] if part else path.name}.index")
    return index if index.is_file() and index.name != ".index" else None


def _tells(beginning: Beginning) -> bool:
    with beginning.path.open("rb") as stream:
        stream.seek(max(beginning.size - 48, 0))
        return is_table(stream.read(48))


def read(path: Path) -> Contents:
    """Reads what the index says of every variable.

    Args:
        path: The index.

    Raises:
        CheckpointError: It is damaged, of another kind, or says what its data files do not hold.
    """
    if path.stat().st_size > _LARGEST_INDEX:
        raise CheckpointError(path, f"its index has more than {_LARGEST_INDEX:,} bytes, which no network's has")
    try:
        shards, variables = _variables(path, path.read_bytes())
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(path, f"the index cannot be read: {reason_of(error)}", _ADVICE) from error
    files = _data_files(path, shards, variables)

    def chunks(key: str) -> Iterator[memoryview]:
        variable, file = variables[key], files[variables[key].shard]
        count = math.prod(variable.shape)
        numbers = np.fromfile(file, variable.dtype, count, offset=variable.offset)
        if numbers.size != count or masked_crc32c(numbers) != variable.crc:
            raise CheckpointError(file, f"{key!r} does not have its checksum", _ADVICE)
        yield from pieces_channels_first(numbers.reshape(variable.shape))

    averages = {key: f"{key}{_AVERAGE}" for key in variables if f"{key}{_AVERAGE}" in variables}
    slots, others = _slots(variables.keys() - averages.values())
    left = {*others, *averages.values()}
    headers = {key: Header(one.dtype, channels_first(one.shape)) for key, one in variables.items() if key not in left}
    notices: list[str] = []
    if others:
        notices.append(f"{fold(others)} are of an optimizer's state that is not kept, and were not read")
    if slots:
        notices.append(
            f"TensorFlow's Adagrad begins its sums of squares at {_ADAGRAD_START} and adds no eps to their roots: its "
            f"slots hold the {_ADAGRAD_START}, and what goes on with them adds an eps of its own"
        )
    if averages:
        notices.append(f"a running average of its weights (…{_AVERAGE}) was not read; --part ema reads it")
    sections = Sections("model", {key: key for key in headers if key not in slots}, slots)
    values = _graph(path, variables, notices)
    contents = Contents("tf1", headers, chunks, values=values, sections=sections, writer=TENSORFLOW_WRITER)
    contents.notices = tuple(notices)
    if averages:
        contents.parts = {"ema": lambda: _averaged(contents, averages)}
    return contents


def _averaged(contents: Contents, averages: Mapping[str, str]) -> Contents:
    """Returns the contents with the running averages of weights in their places, without an optimizer."""
    assert contents.sections is not None
    model = contents.sections.model
    return replace(
        contents,
        headers={key: header for key, header in contents.headers.items() if key in model},
        chunks=lambda key: contents.chunks(averages.get(key, key)),
        sections=Sections("model", model),
        notices=(f"its weights are a running average of those that it was trained to (…{_AVERAGE})",),
        parts={},
    )


def _graph(path: Path, variables: Iterable[str], notices: list[str]) -> dict[str, object]:
    """Returns what the graph beside an index computes before its last layer; nothing where that is not told."""
    last = next((key for key in variables if key == _LAST or key.endswith(f"/{_LAST}")), "")
    graph = path.with_suffix(".meta")
    if not last or not graph.is_file() or graph.stat().st_size > _LARGEST_GRAPH:
        return {}
    try:
        found = operations(graph.read_bytes(), last)
    except ValueError as error:
        notices.append(f"{graph}: the graph cannot be read: {reason_of(error)}; its variables alone tell the network")
        return {}
    return {} if found is None else {"graph": found}


def _slots(variables: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Returns Adagrad's slots with Chainer's names, and the keys of what else an optimizer left.

    A slot is named after its variable: `fc6/weight/Adagrad`.
    """
    known = set(variables)
    found = [key for key in known if key.rpartition("/")[0] in known]
    slots = {key: f"{key.rpartition('/')[0]}/h" for key in sorted(found) if key.endswith("/Adagrad")}
    counters = [key for key in known if key == _COUNTER or key.endswith(f"/{_COUNTER}")]
    if slots.keys() != set(found) or len(counters) != 1:
        slots = {}
    others = {*found, *(key for key in known if _OPTIMIZERS.fullmatch(key)), *counters}
    if slots:
        slots[counters[0]] = "t"
    return slots, sorted(others - slots.keys())


def _variables(path: Path, content: bytes) -> tuple[int, dict[str, _Variable]]:
    """Returns how many data files an index has, and its variables by name."""
    table = entries(content)
    name, header = next(table, (None, b""))
    values = dict(fields(header))
    shards = values.get(1, 0)
    if name == b"" and isinstance(shards, bytes):
        problem = "this is a checkpoint of TensorFlow's first format (V1), which is not read"
        raise CheckpointError(path, problem, "save it again with tf.train.Saver(write_version=SaverDef.V2)")
    if name != b"" or not isinstance(shards, int) or not 0 < shards < 100_000:
        raise ValueError("its header does not say how many data files there are")
    if values.get(2, 0) != 0:
        raise ValueError("it was written on a big-endian machine")
    variables = {}
    for key, entry in table:
        if key.startswith(b"\0"):
            raise CheckpointError(path, "it has a variable in slices, which are not read", _IN_ONE)
        if key == _OBJECT_GRAPH:
            problem = "this is a checkpoint of TensorFlow 2, whose variables are named after Python objects"
            raise CheckpointError(path, problem, "what TensorFlow 1 saved is read")
        text = key.decode()
        try:
            variables[text] = _variable(path, text, entry)
        except CheckpointError:
            raise
        except ValueError as error:
            raise ValueError(f"{text!r} {error}") from error
        if variables[text].shard >= shards:
            raise ValueError(f"{text!r} is in data file {variables[text].shard}, and there are {shards}")
    return shards, variables


def _variable(path: Path, key: str, entry: bytes) -> _Variable:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}  # what is 0 is not written
    shape: Shape = ()
    for number, value in fields(entry):
        if number == 2 and isinstance(value, bytes):
            shape = _shape(value)
        elif number == 7:
            raise CheckpointError(path, f"{key!r} is stored in slices, which are not read", _IN_ONE)
        elif number in numbers and isinstance(value, int):
            numbers[number] = value
    kind, shard, offset, size, crc = numbers.values()
    if kind not in _DTYPES:
        problem = f"{key!r} is of TensorFlow's dtype {kind}, which is not read"
        raise CheckpointError(path, problem, "load it there and save it as float32")
    dtype = np.dtype(_DTYPES[kind])
    if not size or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"of shape {shape} says that it has {size:,} bytes")
    return _Variable(dtype, shape, shard, offset, crc)


def _shape(message: bytes) -> Shape:
    lengths = []
    for number, axis in fields(message):
        if number == 2 and isinstance(axis, bytes):
            length = dict(fields(axis)).get(1, 0)
            lengths.append(signed(length) if isinstance(length, int) else 0)
    if len(lengths) > _MOST_AXES or any(length < 0 for length in lengths):
        raise ValueError("has a shape that no array has")
    return tuple(lengths)


def _data_files(path: Path, shards: int, variables: dict[str, _Variable]) -> dict[int, Path]:
    """Returns the data files by number, all of which are there and hold what the index says.

    Raises:
        CheckpointError: One is missing or cut short, or two variables have the same bytes.
    """
    files: dict[int, Path] = {}
    end = 0
    for key, variable in sorted(variables.items(), key=lambda item: (item[1].shard, item[1].offset)):
        if variable.shard not in files:
            file = path.with_name(f"{path.stem}.data-{variable.shard:05d}-of-{shards:05d}")
            if not file.is_file():
                raise CheckpointError(path, f"there is no {file.name} beside it, which has {key!r}", "copy it there")
            files[variable.shard], size, end = file, file.stat().st_size, 0
        if variable.offset < end:
            raise CheckpointError(path, f"the bytes of {key!r} are those of another variable, too", _ADVICE)
        end = variable.offset + variable.nbytes
        if end > size:
            problem = f"{key!r} should end at byte {end:,}, but the file has {size:,}: it is cut short"
            raise CheckpointError(files[variable.shard], problem, "look for a whole copy")
    return files


register(
    Format(
        name="tf1",
        title="TensorFlow 1",
        suffixes=(".index",),
        finds=index_of,
        tells=_tells,
        read=read,
    )
)
