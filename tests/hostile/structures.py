"""Files of odd structure, as the formats' own libraries or a careful hand make them: what is read of them is compared.

Arrays of every kind, shape and order under odd names, in odd places of the file; and pickles of other instructions.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import warnings
import zipfile
from collections import OrderedDict

import numpy as np

_KINDS = ("<f4", "<f4", "<f4", "<f2", "<f8", ">f4", ">f8", "<i4", "<i8", "|u1", "|b1", ">i2", "<u2", "<c8")
_NAMES = ("conv1/W", "conv1/b", "fc8/W", "predictor/fc8/b", "a", "a.b", "a b", "ä", "x/y/z", "0", "weight", "step", "-")


def array_of(chance: random.Random) -> np.ndarray:
    """Returns an array of any kind, of up to a few hundred numbers."""
    shape = [chance.choice((0, 1, 1, 2, 3, 5, 7)) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
    numbers = np.random.default_rng(chance.randrange(2**32)).integers(-100, 100, shape)
    array = np.asarray(numbers).astype(chance.choice(_KINDS))
    if array.dtype.kind == "f" and array.size and chance.random() < 0.2:
        array.flat[0] = chance.choice((np.nan, np.inf, -0.0, 5e-324))
    change = chance.random()
    if change < 0.2:
        array = np.asfortranarray(array)
    elif change < 0.3:
        array = array.T
    elif change < 0.4 and array.ndim:
        array = array[::-1]
    return array


def arrays_of(chance: random.Random) -> dict[str, np.ndarray]:
    """Returns arrays under names."""
    names = chance.sample(_NAMES, chance.randrange(1, 6))
    return {name: array_of(chance) for name in names}


def npz(chance: random.Random) -> bytes:
    """Makes an npz: any version of npy's header, any order of members, stored or deflated, with what is no array."""
    target = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", kind) as archive:
        warnings.simplefilter("ignore")
        for name, array in arrays_of(chance).items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=chance.choice((None, (1, 0), (2, 0), (3, 0))))
            content = member.getvalue()
            if chance.random() < 0.1:
                content += b"\0" * chance.randrange(1, 9)
            if chance.random() < 0.1:  # in other words of the same meaning
                content = content.replace(b"False", b"bool(0)"[: len("False")], 1)
            archive.writestr(name + chance.choice((".npy", ".npy", ".npy", ".npy", "")), content)
            if chance.random() < 0.05:
                archive.writestr(name + ".npy", content)
        archive.comment = b"a comment" * chance.choice((0, 0, 1))
    return target.getvalue()


def safetensors(chance: random.Random) -> bytes:
    """Makes a safetensors file by hand: any order, padded, with holes and overlaps, sizes that lie a little."""
    kinds = {
        "<f4": "F32",
        "<f2": "F16",
        "<f8": "F64",
        "<i4": "I32",
        "<i8": "I64",
        "|u1": "U8",
        "|b1": "BOOL",
        "<u2": "U16",
    }
    entries, data = {}, b""
    for name, array in arrays_of(chance).items():
        kind = kinds.get(array.dtype.str, "F32")
        content = np.ascontiguousarray(array).tobytes()
        begin, end = len(data), len(data) + len(content)
        shape = list(array.shape)
        lie = chance.random()
        if lie < 0.05:
            begin, end = begin + 1, end + 1
        elif lie < 0.1:
            shape.append(chance.choice((1, 2, 0)))
        elif lie < 0.15:
            kind = chance.choice(("BF16", "F8_E4M3", "F64", "X", "I8"))
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        data += content
    items = list(entries.items())
    chance.shuffle(items)
    if chance.random() < 0.3:
        items.insert(0, ("__metadata__", {"format": chance.choice(("pt", "", "\n"))}))
    separators = chance.choice(((",", ":"), (", ", ": "), (" ,\n", " : ")))
    header = json.dumps(dict(items), separators=separators, ensure_ascii=chance.random() < 0.5).encode()
    if chance.random() < 0.05:
        header = header[:-1] + b"," + header[1:]  # every key twice
    header += b" " * chance.choice((0, 1, -len(header) % 8, 8))
    return struct.pack("<Q", len(header)) + header + data + b"\0" * chance.choice((0, 0, 0, 1))


def hdf5(chance: random.Random) -> bytes:
    """Makes an HDF5 file: chunks, filters, links, attributes, groups in groups, datasets without bytes."""
    import h5py

    target = io.BytesIO()
    version = chance.choice(("earliest", "latest"))
    with h5py.File(target, "w", libver=version) as file:
        for name, array in arrays_of(chance).items():
            options: dict[str, object] = {}
            if array.ndim and array.size and chance.random() < 0.6:
                options = {
                    "chunks": tuple(chance.randrange(1, side + 1) for side in array.shape),
                    "compression": chance.choice((None, "gzip", "lzf")),
                    "shuffle": chance.random() < 0.3,
                    "fletcher32": chance.random() < 0.3,
                    "maxshape": (None,) * array.ndim if chance.random() < 0.3 else None,
                }
            if chance.random() < 0.9:
                made = file.create_dataset(name, data=array, **options)
            else:
                made = file.create_dataset(name, shape=array.shape, dtype=array.dtype, fillvalue=array.dtype.type(3))
            made.attrs["a"] = chance.choice((1, "text", [1.0, 2.0]))
        if chance.random() < 0.1:
            file["link"] = h5py.SoftLink("/a")
        if chance.random() < 0.1:
            file["again"] = made
        file.create_group("empty/er")
    return target.getvalue()


def pt(chance: random.Random) -> bytes:
    """Makes a PyTorch file: views of one storage, turned or spread out, odd kinds, old and new archives."""
    import torch

    made: dict[str, object] = OrderedDict() if chance.random() < 0.5 else {}
    shared = torch.arange(60, dtype=torch.float32)
    for name in arrays_of(chance):
        what = chance.random()
        if what < 0.15:
            tensor = shared[chance.randrange(10) :][: chance.randrange(20)]
        elif what < 0.3:
            tensor = shared.view(6, 10).t()[chance.randrange(5) :, :: chance.choice((1, 2))]
        elif what < 0.35:
            tensor = torch.ones(1).expand(chance.randrange(1, 9), 2)
        else:
            array = np.ascontiguousarray(array_of(chance))
            kind = "i4" if array.dtype == "u2" else array.dtype.newbyteorder("=")  # u2: PyTorch's old files cannot
            tensor = torch.from_numpy(array.astype(kind))
            if tensor.is_floating_point() and chance.random() < 0.2:
                tensor = torch.nn.Parameter(tensor)
            elif tensor.is_complex() and chance.random() < 0.5:
                tensor = tensor.conj()
            elif tensor.is_floating_point() and chance.random() < 0.1:
                tensor = tensor.to(torch.bfloat16)
            elif tensor.ndim == 4 and chance.random() < 0.5:
                tensor = tensor.to(memory_format=torch.channels_last)
        made[name] = tensor
    state: object = made
    for wrapper in ("state_dict", "model")[: chance.choice((0, 0, 1, 2))]:
        state = {wrapper: state}
    target = io.BytesIO()
    protocol = chance.choice((2, 2, 2, 3, 4, 5))
    torch.save(state, target, pickle_protocol=protocol, _use_new_zipfile_serialization=chance.random() < 0.7)
    content = target.getvalue()
    return _with_other_instructions(content, chance) if chance.random() < 0.5 else content


def chainer_pickle(chance: random.Random) -> bytes:
    """Makes a pickle of arrays, and changes its instructions: pickles of this kind have a machine of their own."""
    value = {name: array_of(chance) for name in chance.sample(_NAMES, 2)}
    return other_instructions(pickle.dumps(value, protocol=chance.choice((0, 1, 2))), chance)


def _with_other_instructions(content: bytes, chance: random.Random) -> bytes:
    """Changes the instructions of the pickle in a PyTorch archive; legacy files are several pickles."""
    if not content.startswith(b"PK"):
        return content
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, other_instructions(data, chance) if name.endswith("data.pkl") else data)
    return target.getvalue()


def other_instructions(content: bytes, chance: random.Random) -> bytes:
    """Leaves instructions of a pickle out, doubles, swaps or changes them, or puts in others, of all that there are."""
    places = [place for _, _, place in pickletools.genops(content) if place is not None]
    parts = [content[a:b] for a, b in zip(places, [*places[1:], len(content)], strict=True)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        i = chance.randrange(len(parts))
        what = chance.randrange(5)
        if what == 0:
            del parts[i]
        elif what == 1:
            parts.insert(i, parts[i])
        elif what == 2:
            j = chance.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
        else:
            parts[i : i + (what == 3)] = [_instruction(chance)]
        if not parts:
            return b""
    return b"".join(parts)


def _instruction(chance: random.Random) -> bytes:
    """Returns any instruction, with an argument that it may have."""
    opcode = chance.choice(pickletools.opcodes)
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return code
    if opcode.arg.n > 0:
        return code + bytes(chance.choice((0, 0, 1, 2, 255)) for _ in range(opcode.arg.n))
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        return code + chance.choice((b"0\n", b"1\n", b"-1\n", b"'a'\n", b"collections\nOrderedDict\n", b"os\nsystem\n"))
    length = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(opcode.arg.n, 4)
    return code + chance.choice((0, 1, 3)).to_bytes(length, "little") + b"abc"


#: What makes a file of a format out of chance.
STRUCTURES = {
    "chainer-npz": npz,
    "safetensors": safetensors,
    "chainer-hdf5": hdf5,
    "pt": pt,
    "chainer-pickle": chainer_pickle,
}
