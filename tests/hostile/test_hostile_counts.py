"""Files of very many things, or whose headers claim much: few bytes each, but minutes of work or gigabytes together."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

import converters
from converters.formats import format as formats
from converters.networks import TABLES, Architecture, Convolution, walk
from tests.helpers.checkpoint_files import alexnet, in_torch_names, members, npy, refused, save_npz, save_zip
from tests.hostile.alone import read_alone
from tests.hostile.conftest import refusals

FEW = 40


@pytest.fixture
def few_are_many(monkeypatch):
    """As if no checkpoint had more than so few arrays; an AlexNet has fewer."""
    monkeypatch.setattr(formats, "MOST_ARRAYS", FEW)


def npz_of(path, count):
    content = npy(np.zeros(1, "f"))
    return save_zip(path, [*members(alexnet()), *((f"x{i}.npy", content) for i in range(count))], zipfile.ZIP_STORED)


def hdf5_of(path, make):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", libver="latest") as file:
        for key, array in alexnet().items():
            file.create_dataset(key, data=array)
        make(file)
    return path


def datasets(count):
    return lambda file: [file.create_dataset(f"x{i}", data=np.zeros(1, "f")) for i in range(count)]


def groups(count):
    return lambda file: [file.create_group(f"x{i}") for i in range(count)]


def nested(count):
    def make(file):
        for _ in range(count):
            file = file.create_group("a")

    return make


def hard_links(count):
    def make(file):
        for i in range(count):
            file[f"x{i}"] = file["fc6/W"]

    return make


class TestCounts:
    @pytest.mark.parametrize("make", [datasets, groups])
    def test_an_hdf5_of_many(self, make, tmp_path, few_are_many):
        refused(hdf5_of(tmp_path / "a.h5", make(FEW)), r"it has more than 40 arrays, which no checkpoint has \(nothing")

    def test_an_npz_of_many(self, tmp_path, few_are_many):
        refused(npz_of(tmp_path / "a.npz", FEW), "it has more than 40 arrays, which no checkpoint has")

    def test_a_safetensors_of_many(self, tmp_path, few_are_many):
        from safetensors.numpy import save_file

        save_file({f"x{i}": np.zeros(1, "f") for i in range(FEW + 1)}, tmp_path / "a.safetensors")
        refused(tmp_path / "a.safetensors", "it has more than 40 arrays, which no checkpoint has")

    def test_groups_that_are_nested(self, tmp_path):
        refused(hdf5_of(tmp_path / "a.h5", nested(65)), "its groups are nested deeper than 64 levels")

    def test_an_array_of_many_names(self, tmp_path):
        refused(hdf5_of(tmp_path / "a.h5", hard_links(1)), "'(fc6/W|x0)' is no array and no group of its own")

    def test_arrays_that_lie_in_the_same_bytes(self, tmp_path):
        """Of one dataset's header the place of its numbers is changed to another's."""
        h5py = pytest.importorskip("h5py")
        arrays = {**alexnet(), "fc6/W": np.ones((5000, 108), "f"), "fc6/b": np.ones(5000, "f")}
        arrays["fc7/W"] = np.ones((6, 5000), "f")
        copies = [f"fc6/W{i}" for i in range(3)]
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for key, array in {**arrays, **{key: arrays["fc6/W"] + i for i, key in enumerate(copies)}}.items():
                file.create_dataset(key, data=array)
            places = [file[key].id.get_offset() for key in ("fc6/W", *copies)]
        content = (tmp_path / "a.h5").read_bytes()
        for place in places[1:]:
            assert content.count(struct.pack("<Q", place)) == 1
            content = content.replace(struct.pack("<Q", place), struct.pack("<Q", places[0]))
        (tmp_path / "a.h5").write_bytes(content[: -2 * arrays["fc6/W"].nbytes])
        refused(
            tmp_path / "a.h5", "its arrays are stored in more bytes than it has|the HDF5 file cannot be read: .*trunc"
        )

    def test_numbers_beside_tensors(self, tmp_path):
        """As long as each is looked for among all, they take minutes."""
        torch = pytest.importorskip("torch")
        numbers = {f"n{i}": i for i in range(100_000)}
        torch.save({"conv1.weight": torch.zeros(3), **numbers}, tmp_path / "a.pt")
        (said,) = refusals([tmp_path / "a.pt"])
        assert "its arrays fit no architecture" in said

    def test_a_name_without_end(self, tmp_path):
        """Whether it is that of a loss is found out after hours."""
        torch = pytest.importorskip("torch")
        network = {f"module.{name}": torch.from_numpy(one) for name, one in in_torch_names(alexnet()).items()}
        torch.save({**network, "loss" * 100_000: torch.zeros(3)}, tmp_path / "a.pt")
        (said,) = refusals([tmp_path / "a.pt"])
        assert "it has an array whose name has 400,000 characters" in said

    def test_a_configuration_of_one_step_without_end(self, tmp_path):
        """Where the step ends is looked for from each of its words."""
        torch = pytest.importorskip("torch")
        table = TABLES["resnet18-torchvision"]
        widths = {layer.name: 2 for layer in walk(table) if isinstance(layer, Convolution)}
        shapes = Architecture("resnet18-torchvision", 4, widths).shapes
        arrays = {name: torch.zeros(shape, dtype=None if shape else int) for name, shape in shapes.items()}
        state = {f"{'head' if name[:3] == 'fc.' else 'backbone'}.{name}": one for name, one in arrays.items()}
        config = "(" + "GetBBoxCenterScale " * 50_000
        torch.save({"meta": {"config": config}, "state_dict": state}, tmp_path / "a.pth")
        assert read_alone([tmp_path / "a.pth"], "time")[0][:2] == ("", 0)

    @pytest.mark.parametrize(
        ("name", "text"),
        [("log.txt", ("Namespace(" * 1600 + "\n") * 400), ("net.py", "class A(" * 20_000)],
    )
    def test_beginnings_without_ends_beside_it(self, name, text, tmp_path):
        (tmp_path / name).write_text(text)
        save_npz(tmp_path / "a.model", alexnet())
        assert read_alone([tmp_path / "a.model"], "time")[0][:2] == ("", 0)

    def test_tensors_of_a_cascade_of_many_networks(self, tmp_path):
        """As long as each is compared with the names of all networks, they take an hour."""
        stages = [{"crop": None}, *[{"joints": [{}] * 1000, "crop": {"sigma": 1.5, "opposing": [[0, 7]]}}] * 99]
        said = {"deeppose_port": "0.1.0", "stages": json.dumps(stages), "face": "null"}
        tensors = {f"x{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
        header = json.dumps({"__metadata__": said, **tensors}).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        (said,) = refusals([tmp_path / "a.safetensors"])
        assert "'x0' belongs to no stage of its cascade" in said

    @pytest.mark.slow
    def test_the_real_ones_within_limits(self, tmp_path):
        paths = [
            npz_of(tmp_path / "members.npz", 60_000),
            hdf5_of(tmp_path / "datasets.h5", datasets(60_000)),
            hdf5_of(tmp_path / "groups.h5", nested(20_000)),
            hdf5_of(tmp_path / "links.h5", hard_links(13_000)),
        ]
        said = refusals(paths)
        assert [line.partition(": ")[2][:30] for line in said[:2]] == ["it has more than 10,000 arrays"] * 2
        assert "nested deeper" in said[2]
        assert "no array and no group of its own" in said[3]


def tar_header(name, kind, size):
    """A tar's header of 512 bytes."""
    head = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)[:512])
    head[124:136], head[156:157], head[148:156] = b"%011o\0" % size, kind, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def torch_tar(path, *others):
    """A tar as PyTorch 0.1 wrote it, of nothing, and other members."""
    count = pickle.dumps(0, 2)
    content = [("storages", count + pickle.dumps([], 2)), ("tensors", count), ("pickle", pickle.dumps({}, 2))]
    with tarfile.open(path, "w") as archive:
        for name, data in [*content, *others]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


class TestTar:
    def test_headers_that_claim_gigabytes_of_a_file_with_holes(self, tmp_path):
        """12 kB on the disk, and 4 GB by its size: none of it is taken into memory for a name or an attribute."""
        paths = []
        for kind in b"LKxg":
            paths.append(tmp_path / f"{chr(kind)}.pt")
            paths[-1].write_bytes(tar_header("a", bytes([kind]), 3_900_000_000))
            os.truncate(paths[-1], 4_000_000_000)
        for line in refusals(paths, max_bytes=1_000_000):
            assert "not one that PyTorch before 0.2 wrote" in line

    @pytest.mark.parametrize("kind", [b"L", b"x"])
    def test_headers_of_headers_without_end(self, kind, tmp_path):
        data = b"10 a=bcde\n" if kind == b"x" else b"b\0"
        link = tar_header("a", kind, len(data)) + data.ljust(512, b"\0")
        (tmp_path / "a.pt").write_bytes(link * 3000 + bytes(1024))
        refused(tmp_path / "a.pt", "not one that PyTorch before 0.2 wrote")
        whole = torch_tar(tmp_path / "b.pt").read_bytes()
        (tmp_path / "b.pt").write_bytes(whole[: 512 * 6] + link * 3000 + bytes(1024))
        refused(tmp_path / "b.pt", "this is a tar file of PyTorch before 0.2, and it is damaged")

    def test_the_fixture_makes_a_tar_of_pytorch(self, tmp_path):
        refused(torch_tar(tmp_path / "a.pt"), "it holds no state dict, only nothing")

    @pytest.mark.parametrize("name", ["pickle", "storages", "tensors", "sys_info"])
    def test_a_member_twice(self, name, tmp_path):
        """PyTorch reads the last of them."""
        others = [(name, pickle.dumps({}, 2))] * (2 if name == "sys_info" else 1)
        refused(torch_tar(tmp_path / "a.pt", *others), f"before 0.2, and it has a member twice: {name}")

    def test_many_members(self, tmp_path):
        others = [(f"x{i}", b"") for i in range(14)]
        refused(torch_tar(tmp_path / "a.pt", *others), "it has more than 16 members")


class TestTwoMeanings:
    """Files that one program reads as this and another as that."""

    @pytest.fixture
    def archive(self, tmp_path):
        path = save_zip(tmp_path / "a.npz", members(alexnet()))
        return path, path.read_bytes()

    @pytest.mark.parametrize("where", ["before", "after", "twice"])
    def test_a_zip_with_something_around_it(self, where, archive, tmp_path):
        path, content = archive
        other = save_zip(tmp_path / "b.npz", members({**alexnet(), "fc8/b": np.ones(14, "f")})).read_bytes()
        around = {"before": (other, content), "after": (content, b"\0"), "twice": (content, content)}[where]
        path.write_bytes(b"".join(around))
        refused(path, "this zip file is cut short or damaged")

    def test_a_directory_where_it_does_not_say(self, archive, tmp_path):
        """Python takes the directory before the end, others the one where the end says."""
        path, content = archive
        start = struct.unpack("<I", content[-6:-2])[0]
        directory = content[start:-22]
        path.write_bytes(content[:start] + directory * 2 + content[-22:])
        refused(path, "this zip file is cut short or damaged")

    @pytest.mark.parametrize("place", [4, 6, 8, 10])
    def test_an_end_that_counts_others(self, place, archive):
        """Of disks, the one of the directory, members there, and members; PyTorch refuses such, Python reads on."""
        path, content = archive
        end = bytearray(content[-22:])
        end[place] ^= 1
        path.write_bytes(content[:-22] + end)
        refused(path, "this zip file is cut short or damaged")

    @pytest.mark.parametrize("large", [False, True])
    def test_the_end_of_a_large_zip(self, large, archive):
        """In it there is another end, which all programs take where both are of one mind."""
        path, content = archive
        start, length = struct.unpack("<II", content[-10:-2])[::-1]
        count = struct.unpack("<H", content[-12:-10])[0]
        place = start if large else start + 1
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, place)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(content) - 22, 1)
        path.write_bytes(content[:-22] + end + locator + content[-22:-6] + b"\xff\xff\xff\xff\0\0")
        if large:
            assert converters.read(path).joints == 7
        else:
            refused(path, "this zip file is cut short or damaged")
        path.write_bytes(content[:-22] + end + locator.replace(locator[8:16], bytes(8)) + content[-22:])
        refused(path, "this zip file is cut short or damaged")

    def test_a_file_of_pytorch_before_1_6_that_is_a_zip_too(self, archive, tmp_path):
        torch = pytest.importorskip("torch")
        _, content = archive
        torch.save({"fc8.bias": torch.ones(14)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
        (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes() + content)
        problem = "this is a PyTorch file of before 1.6 and a zip file as well, which are read differently"
        refused(tmp_path / "a.pt", rf"{problem} \(nothing was read")
        torch_tar(tmp_path / "b.pt")
        (tmp_path / "b.pt").write_bytes((tmp_path / "b.pt").read_bytes() + content)
        refused(tmp_path / "b.pt", problem)
