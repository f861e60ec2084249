"""Mutations of real files of every format: none may crash, hang, take memory or end in anything but one line.

    python -m tests.hostile.fuzz [FORMAT...] [--mutations 10000] [--seed 0] [--keep FOLDER]

Each format has a process of its own with a limit on its memory, so that a crash inside a C library is seen as well; it
is started again after whatever ended it. Mutation number n of a seed is the same in every run. The exit status is 1 if
there was any failure; `--keep` leaves the files that failed. What is read of npz, safetensors, HDF5 and PyTorch files
is compared with what NumPy, safetensors, h5py and PyTorch read of them: the same arrays, or a failure. FORMAT/structure
makes files anew by the formats' own libraries (structures.py), a fifth as many.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.helpers import tensorflow1
from tests.helpers.keras import fill
from tests.hostile import structures

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden" / "checkpoints"
SECONDS = 5
#: The most that reading one file may add to a process's memory. The files are 0.1 MB, and deflate to 1032 times less.
MEMORY = 256 << 20
#: Files that are made anew, of a format, to every so many whose bytes are changed.
_FEWER = 5
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**62, 2**63 - 1, 2**64 - 1)


# --- the files --------------------------------------------------------------------------------------------------------


def kinds() -> list[str]:
    """Returns the names of the formats that are read."""
    from converters.formats import readable

    return [format.name for format in readable()]


def seeds(kind: str, folder: Path) -> list[bytes]:
    """Returns real files of a format: those that the legacy program wrote, and what is written of them."""
    import converters
    from converters.formats import FORMATS

    model = GOLDEN / "1.13.0" / "alexnet-momentumsgd" / "epoch-1.model"
    if kind == "chainer-npz":
        snapshot = GOLDEN / "1.13.0" / "trainer-serial" / "snapshot_iter_2"
        converters.convert(model, folder / "own.npz", state=False, force=True)
        return [model.read_bytes(), (folder / "own.npz").read_bytes(), snapshot.read_bytes()]
    if kind == "chainer-hdf5":
        return [next((GOLDEN / "1.5.1").glob("*/epoch-1.model")).read_bytes()]
    if kind == "chainer-pickle":
        return [path.read_bytes() for path in sorted((GOLDEN / "1.1.0").glob("*/*.chainermodel"))]
    if kind == "keras-hdf5":
        import h5py

        layer = {"kernel": np.ones((3, 3, 3, 4), "f"), "bias": np.ones(4, "f")}
        with h5py.File(folder / "a.h5", "w") as file:
            fill(file, {"input_1": {}, "conv2d_7": layer, "conv2d_8": layer})
        return [(folder / "a.h5").read_bytes()]
    if kind == "tf1":
        source = GOLDEN.parent / "tf1-asanakoy" / "checkpoint-1000.index"
        for name in ("whole", "mutated"):  # of which the index will be
            data = source.with_suffix(".data-00000-of-00001")
            (folder / name).with_suffix(data.suffix).write_bytes(data.read_bytes())
        return [source.read_bytes()]
    if kind == "shards":
        converters.convert(model, folder / "shard.safetensors", state=False, force=True)
        keys = converters.read(folder / "shard.safetensors").weights
        return [json.dumps({"weight_map": dict.fromkeys(keys, "shard.safetensors")}).encode()]
    if kind != "pt":
        assert FORMATS[kind].write is not None, f"{kind} is only read: name files of it here"
        converters.convert(model, folder / "own", format=kind, state=False, force=True)
        return [(folder / "own").read_bytes()]
    import torch

    converters.convert(model, folder / "own.pt", force=True)
    torch.save(torch.load(folder / "own.pt")["state_dict"], folder / "bare.pt")
    torch.save(torch.load(folder / "bare.pt"), folder / "old.pt", _use_new_zipfile_serialization=False)
    return [(folder / f"{name}.pt").read_bytes() for name in ("own", "bare", "old")]


# --- mutations --------------------------------------------------------------------------------------------------------


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Returns a file with one to eight things wrong; half of the zips are made anew around a member that is wrong."""
    if content.startswith(b"PK") and chance.random() < 0.5:
        return _with_other_member(content, chance)
    if content.endswith(tensorflow1.MAGIC) and chance.random() < 0.9:
        return _with_other_block(content, chance)
    return _mutated(content, chance)


def _mutated(content: bytes, chance: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        if result:
            chance.choice(_MUTATIONS)(result, chance)
    return bytes(result)


def _place(content: bytearray, chance: random.Random) -> int:
    """Returns a position: mostly at the beginning and the end, where formats say what they hold."""
    span = min(len(content), chance.choice((64, 1024, 8192, len(content))))
    return chance.randrange(span) if chance.random() < 0.6 else len(content) - 1 - chance.randrange(span)


def _flip(content: bytearray, chance: random.Random) -> None:
    content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    content[place : place + 8] = chance.randbytes(chance.randrange(1, 9))


def _number(content: bytearray, chance: random.Random) -> None:
    kind = chance.choice(("<B", "<H", "<I", "<Q", ">I"))
    size = struct.calcsize(kind)
    place = _place(content, chance)
    if place + size <= len(content):
        (value,) = struct.unpack_from(kind, content, place)
        value = chance.choice((value + 1, value - 1, value * 2, chance.choice(_INTERESTING)))
        struct.pack_into(kind, content, place, value % (1 << 8 * size))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    del content[place : place + chance.choice((1, 2, 8, 100))]


def _repeat(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    content[place:place] = content[place : place + chance.choice((1, 8, 100, 1000))] * chance.choice((1, 2, 50))


def _move(content: bytearray, chance: random.Random) -> None:
    source, target, size = _place(content, chance), _place(content, chance), chance.choice((4, 16, 64, 512))
    content[target : target + size] = content[source : source + size]


def _digit(content: bytearray, chance: random.Random) -> None:
    """Changes a digit, as in the JSON of safetensors and the headers of npy."""
    place = _place(content, chance)
    for i in range(place, min(place + 200, len(content))):
        if content[i : i + 1].isdigit():
            content[i : i + 1] = chance.choice((b"0", b"9", b"-1", b"1e9", b"99999999", b'"a"', b"[", b"null"))
            return


_MUTATIONS = (_flip, _overwrite, _number, _cut, _remove, _repeat, _move, _digit)


def _with_other_member(content: bytes, chance: random.Random) -> bytes:
    """Returns a zip whose checksums are right, but one of whose members, or its name, is not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
        kind = archive.infolist()[0].compress_type
        comment = archive.comment
    i = chance.randrange(len(members))
    pickles = [n for n, (name, _) in enumerate(members) if name.endswith(".pkl")]
    if pickles and chance.random() < 0.8:
        i = pickles[0]
    name, data = members[i]
    what = chance.random()
    if what < 0.8:
        members[i] = name, _mutated(data, chance)
    elif what < 0.9:
        members[i] = _mutated(name.encode(), chance).decode("latin-1").replace("\0", "") or "x", data
    else:
        comment = _mutated(comment, chance)[: zipfile.ZIP_MAX_COMMENT]
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, kind)
        archive.comment = comment
    return target.getvalue()


def _with_other_block(content: bytes, chance: random.Random) -> bytes:
    """Returns a table of TensorFlow whose checksums are right, but where an entry, or a block, is not."""
    from converters.formats._leveldb import entries

    items = list(entries(content))
    what = chance.random()
    if what < 0.7:
        i = chance.randrange(len(items))
        key, value = items[i]
        items[i] = (key, _mutated(value, chance)) if what < 0.6 else (_mutated(key, chance), value)
    block = tensorflow1.block(items)
    if 0.7 <= what < 0.85:
        block = _mutated(block, chance)
    index = tensorflow1.block([(items[-1][0], tensorflow1.place(0, len(block)))])
    return tensorflow1.closed(tensorflow1.packed(block), _mutated(index, chance) if what >= 0.85 else index)


def nth(kind: str, files: list[bytes], seed: int, n: int) -> bytes:
    """Returns mutation number n of a seed."""
    chance = random.Random(f"{seed} {n}")
    format, _, structure = kind.partition("/")
    return structures.STRUCTURES[format](chance) if structure else mutated(chance.choice(files), chance)


# --- the process that reads -------------------------------------------------------------------------------------------


def _read_all(kind: str, seed: int, start: int, stop: int, folder: Path) -> None:
    """Reads mutations and prints a line for each: its number, how much memory it added, and what was wrong."""
    import converters

    warnings.simplefilter("error")
    files = seeds(kind.partition("/")[0], folder)
    for content in files:  # so that all that is loaded once is there
        (folder / "whole").write_bytes(content)
        converters.inspect(folder / "whole")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY,) * 2)
    peak = _peak()
    for n in range(start, stop):
        path = folder / "mutated"
        path.write_bytes(nth(kind, files, seed, n))
        print(n, flush=True)
        problem = _problem(converters, path, "/" in kind)
        added, peak = _peak() - peak, _peak()
        if added > MEMORY:
            problem = f"took {added >> 20} MB"
        if problem:
            print(f"{n} {problem}", flush=True)


def _peak() -> int:
    """Returns the most memory that this process has held. `ru_maxrss` would count its parent's too."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def _problem(converters, path: Path, structure: bool = False) -> str | None:
    """Reads a file; returns what it ends in if that is neither a checkpoint nor one line that refuses it.

    Args:
        converters: The package.
        path: The file.
        structure: Whether its arrays alone are looked at, which need be no network's.
    """
    try:
        if not structure:
            converters.inspect(path, max_bytes=MEMORY // 2)
        return _contradiction(path)
    except converters.CheckpointError as error:
        if not str(error).isprintable() or len(str(error)) > 1500:
            return f"no line: {error!r}"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})".replace("\n", " ")
    return None


def _contradiction(path: Path) -> str | None:
    """Returns what a format's own library reads otherwise of a file that is accepted."""
    from converters import formats

    format = formats.format_of(path).name
    if format not in _REFERENCES:
        return None
    contents = formats.opened(path)
    if contents.notices or contents.parts:  # of things that only we pass over
        return None
    try:
        theirs = _REFERENCES[format](path, contents.wrappers)
    except UnicodeDecodeError:
        return None  # texts that are not UTF-8, as Python 2 wrote them, are read escaped
    except Exception as error:
        return f"{format}'s own library refuses it: {type(error).__name__}: {error}"[:300].replace("\n", " ")
    if contents.headers.keys() | {*contents.uninitialised} != theirs.keys():
        return "its own library finds other arrays"
    for key, header in contents.headers.items():
        array = np.asarray(theirs[key])
        if array.shape != header.shape or array.dtype.newbyteorder("=") != header.dtype.newbyteorder("="):
            return f"its own library reads {key} as {array.dtype}{array.shape}, not {header.dtype}{header.shape}"
        stored = np.frombuffer(b"".join(map(bytes, contents.chunks(key))), header.dtype).astype(array.dtype)
        if stored.tobytes() != array.tobytes("F" if header.fortran else "C"):
            return f"its own library reads other numbers in {key}"
    return None


def _by_numpy(path: Path, wrappers: Sequence[str]) -> dict[str, object]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def _by_safetensors(path: Path, wrappers: Sequence[str]) -> dict[str, object]:
    from safetensors.numpy import load_file

    return dict(load_file(path))


def _by_h5py(path: Path, wrappers: Sequence[str]) -> dict[str, object]:
    import h5py

    arrays: dict[str, object] = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda key, item: arrays.update({key: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


def _by_torch(path: Path, wrappers: Sequence[str]) -> dict[str, object]:
    import torch

    state = torch.load(path, weights_only=True)
    for key in wrappers:
        state = state[key]
    return {key: _in_numpy(tensor.detach()) for key, tensor in state.items()}


def _in_numpy(tensor):
    """Returns an array; numbers that NumPy has not are float32."""
    import torch

    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor.resolve_conj().contiguous()).numpy()


_REFERENCES = {
    "chainer-npz": _by_numpy,
    "safetensors": _by_safetensors,
    "chainer-hdf5": _by_h5py,
    "pt": _by_torch,
}


# --- the process that watches -----------------------------------------------------------------------------------------

CHILD = (sys.executable, "-X", "faulthandler", "-m", "tests.hostile.fuzz", "--child")


@dataclass(frozen=True)
class Failure:
    """What was wrong with a mutation."""

    format: str
    number: int
    problem: str


def run(kind: str, mutations: int, seed: int = 0, child: Sequence[str] = CHILD) -> list[Failure]:
    """Reads mutations of a format in a process of its own, which is started again when it dies or hangs."""
    failures: list[Failure] = []
    start = 0
    with tempfile.TemporaryDirectory(prefix="deeppose-port-fuzz-") as folder:
        while start < mutations:
            command = [*child, kind, *map(str, (seed, start, mutations)), folder]
            start, problem = _watch(kind, command, start, mutations, failures)
            if problem is not None:
                failures.append(Failure(kind, start - 1, problem))
    return failures


def _watch(kind: str, command: Sequence[str], start: int, stop: int, failures: list[Failure]) -> tuple[int, str | None]:
    """Runs one process to its end; returns the number to go on with, and what ended it too early."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=TESTS.parent)
        assert process.stdout is not None
        number, rest, patience, worked = start - 1, b"", 60.0, 0.0  # to start
        try:
            while True:
                ready, _, _ = select.select([process.stdout], [], [], patience)
                if not ready and _waits_its_turn(process.pid, worked + patience):
                    continue
                if not ready and number < start:
                    raise RuntimeError(f"the process that reads {kind} does not start")
                if not ready:
                    return number + 1, f"hangs for more than {patience:g} s"
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    first, _, problem = line.decode(errors="replace").partition(" ")
                    number, patience, worked = int(first), SECONDS, _status(process.pid)[1]
                    if problem:
                        failures.append(Failure(kind, number, problem))
        finally:
            process.kill()
            process.stdout.close()
            status = process.wait()
        if number == stop - 1 and status in (0, -signal.SIGKILL):
            return stop, None
        errors.seek(0)
        said = " ".join(errors.read()[-600:].split())
        if number < start:
            raise RuntimeError(f"the process that reads {kind} does not start: {said}")
        return number + 1, f"ended by status {status}: {said}"


def _waits_its_turn(process: int, most: float) -> bool:
    """Tells whether a process would work if a busy machine let it, and has not had so many seconds yet."""
    state, worked = _status(process)
    return state in "RD" and worked < most


def _status(process: int) -> tuple[str, float]:
    """Returns the letter of a process's state, and for how many seconds it has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return fields[0], sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Reads mutations of each format and prints what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(kinds()))
    parser.add_argument("--mutations", "-n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    failed = False
    for kind in options.formats or [*kinds(), *(f"{format}/structure" for format in structures.STRUCTURES)]:
        begun = time.monotonic()
        count = options.mutations // _FEWER if "/" in kind else options.mutations
        failures = run(kind, count, options.seed)
        print(f"{kind}: {count} mutations, {len(failures)} failures, {time.monotonic() - begun:.0f} s")
        for failure in failures:
            failed = True
            print(f"  {failure.number}: {failure.problem}")
        if options.keep and failures:
            options.keep.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as folder:
                files = seeds(kind.partition("/")[0], Path(folder))
            for failure in failures:
                name = f"{kind.replace('/', '-')}-{failure.number}"
                (options.keep / name).write_bytes(nth(kind, files, options.seed, failure.number))
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _read_all(sys.argv[2], *map(int, sys.argv[3:6]), Path(sys.argv[6]))
        sys.stdout.flush()
        os._exit(0)  # tearing libraries down takes longer than any mutation may
    sys.exit(main())
