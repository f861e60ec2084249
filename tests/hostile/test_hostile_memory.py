"""Files that claim more than they hold are refused before memory is taken for it."""

import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib

import numpy as np
import pytest

import converters
from converters import Architecture, formats
from converters.checkpoint import is_parameter
from converters.formats.format import LONGEST_NAME
from converters.keys import chainer_names
from tests.helpers.checkpoint_files import alexnet, in_torch_names, members, npy_claiming, refused, save_zip, wrapped

HUGE = 10**12


def lying_zip(path, file_size, compress_size, data, key="fc6/W", shape=None):
    """An AlexNet's npz with one member whose sizes in the directory are claimed, as zip64."""
    shape = shape or (file_size // (4 * 108), 108)
    header = npy_claiming({"descr": "<f4", "fortran_order": False, "shape": shape})
    raw = header + data
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = compressor.compress(raw) + compressor.flush()
    name = f"{key}.npy".encode()
    claims = struct.pack("<QQ", file_size + len(header), compress_size or len(deflated))
    extra = struct.pack("<HH", 1, 16) + claims
    crc = zlib.crc32(raw)
    small = 0xFFFFFFFF
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 8, 0, 33, crc, small, small, len(name), len(extra))
    others = [(n, c) for n, c in members(alexnet()) if n != name.decode()]
    save_zip(path, others)
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        count = len(archive.infolist())
    content = path.read_bytes()
    directory, end = content[start:-22], content[-22:]
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 8, 0, 33, crc, small, small, len(name), len(extra), 0, 0, 0, 0, start
    )
    member = local + name + extra + deflated
    directory += central + name + extra
    end = struct.pack("<4s4H2IH", end[:4], 0, 0, count + 1, count + 1, len(directory), start + len(member), 0)
    path.write_bytes(content[:start] + member + directory + end)
    return path


class TestNpz:
    @pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
    def test_a_header_that_claims_terabytes(self, compression, tmp_path, read_within_limits):
        header = {"descr": "<f4", "fortran_order": False, "shape": (HUGE, 108)}
        content = {**dict(members(alexnet())), "fc6/W.npy": npy_claiming(header, bytes(1000))}
        path = save_zip(tmp_path / "a.npz", content.items(), compression)
        refused(path, "'fc6/W' should take 432000000000[0-9]* bytes but has [0-9]{4}")
        assert "'fc6/W' should take" in read_within_limits(path)

    def test_a_directory_that_confirms_the_claim(self, tmp_path, read_within_limits):
        path = lying_zip(tmp_path / "a.npz", 4 * 108 * HUGE, None, bytes(1000))
        refused(path, r"'fc6/W\.npy' cannot have 4320000000\d+ bytes in a file of \d+ \(the file is damaged")
        assert "cannot have" in read_within_limits(path)

    def test_a_directory_that_claims_more_deflated_bytes_than_there_are(self, tmp_path, read_within_limits):
        path = lying_zip(tmp_path / "a.npz", 4 * 108 * HUGE, HUGE, bytes(1000))
        refused(path, r"'fc6/W\.npy' cannot have \d+ bytes in a file of \d+")
        assert "cannot have" in read_within_limits(path)

    def test_an_honest_member_made_the_same_way_is_read(self, tmp_path):
        """The file of these tests is refused for its lie and for nothing else."""
        import converters

        data = np.ones((5, 108), np.float32).tobytes()
        path = lying_zip(tmp_path / "a.npz", len(data), None, data, shape=(5, 108))
        assert (converters.read(path).weights["fc6.weight"] == 1).all()

    def test_a_header_without_end(self, tmp_path, read_within_limits):
        """Version 2 of npy has headers of up to 4 GB, and spaces deflate well."""
        header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2_000_000_000)
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        content = header + b" " * 1_000_000
        assert len(compressor.compress(content) + compressor.flush()) < 2000
        path = save_zip(tmp_path / "a.npz", [*members(alexnet()), ("x.npy", content)])
        refused(path, "'x' is no npy array")
        assert "'x' is no npy array" in read_within_limits(path)

    def test_memory_that_is_not_there_is_said(self, tmp_path, read_in_little_memory):
        """A file that is honest, but larger than this machine may hold."""
        rows = 180_000
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in members(alexnet()):
                if not name.startswith(("fc6/", "fc7/W")):
                    archive.writestr(name, content)
            for key, shape in (("fc6/b", (rows,)), ("fc7/W", (6, rows)), ("fc6/W", (rows, 108))):
                with archive.open(f"{key}.npy", "w") as stream:
                    stream.write(npy_claiming({"descr": "<f4", "fortran_order": False, "shape": shape}))
                    for _ in range(1000):
                        stream.write(bytes(4 * int(np.prod(shape)) // 1000))
        message = read_in_little_memory(tmp_path / "a.npz")
        assert "'fc6/W' of shape (180000, 108) cannot be held in memory: Unable to allocate" in message


class TestDirectories:
    """What a file says of its members is itself read into memory, where it takes many times as much."""

    def test_a_zip_of_a_hundred_thousand_members(self, tmp_path, read_within_limits):
        path = save_zip(tmp_path / "a.npz", [("a.npy", b"")])
        content = path.read_bytes()
        start = content.index(b"PK\x01\x02")
        entries = content[start : content.index(b"PK\x05\x06")] * 100_000
        count = struct.pack("<2H2I", 0xFFFF, 0xFFFF, len(entries), start)
        path.write_bytes(content[:start] + entries + content[-22:-14] + count + b"\0\0")
        refused(path, r"this zip file is cut short or damaged \(look for a whole copy")
        assert "cut short or damaged" in read_within_limits(path)

    def test_a_safetensors_header_of_many_megabytes(self, tmp_path, read_within_limits):
        header = b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(900_000)) + b"}}"
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        refused(
            path, r"its header has [\d,]+ bytes, where those of the largest networks have 0\.2 million \(nothing was"
        )
        assert "its header has" in read_within_limits(path)


class TestMaxBytes:
    @pytest.fixture
    def zeros(self, tmp_path):
        """An honest state that is all zeros: it deflates more than a thousand times."""
        arrays = {key: np.zeros_like(array) for key, array in alexnet().items()}
        arrays["fc6/W"], arrays["fc6/b"] = np.zeros((100_000, 108), "f"), np.zeros(100_000, "f")
        arrays["fc7/W"] = np.zeros((6, 100_000), "f")
        path = tmp_path / "a.model"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in members(arrays):
                archive.writestr(name, content)
            packed = archive.getinfo("fc6/W.npy")
            assert packed.file_size > 1000 * packed.compress_size
        return path, sum(array.nbytes for array in arrays.values())

    def test_zeros_are_read_by_default_and_refused_where_less_is_allowed(self, zeros):
        path, total = zeros
        assert not converters.read(path, max_bytes=total).weights["fc6.weight"].any()
        refused(
            path,
            rf"its arrays take {total:,} bytes, and {total - 1:,} are allowed \(if that is right, --max-bytes {total}",
            max_bytes=total - 1,
        )

    def test_the_limit_holds_for_every_command_and_is_one_line(self, zeros, tmp_path, capsys):
        from deeppose_port.cli import main

        path, total = zeros
        for arguments in (
            ["inspect", path],
            ["convert", path, "-o", tmp_path / "b.safetensors"],
            ["convert", path, "-o", tmp_path / "b.npz"],
            ["predict", path, "a.png", "-o", tmp_path / "out"],
        ):
            assert main([*map(str, arguments), "--max-bytes", "1M"]) == 2
            errors = capsys.readouterr().err
            assert errors.splitlines()[-1].startswith(f"error: {path}: its arrays take {total:,} bytes, and 1,048,576")
        assert main(["convert", str(path), "-o", str(tmp_path / "b.safetensors"), "--max-bytes", "1g"]) == 0

    def test_the_largest_file_of_the_legacy_program_is_below_the_limit(self):
        """A snapshot of VGG-BN for 16 joints: the weights and Adam's two moments of each parameter."""
        shapes = Architecture.full_size("vgg_bn", 16).shapes
        assert 3 * 4 * sum(int(np.prod(shape)) for shape in shapes.values()) < formats.MAX_BYTES / 2

    @pytest.mark.slow
    def test_a_snapshot_of_vgg_is_read(self, tmp_path):
        """All of its 1.6 GB, zeros that deflate to 1.6 MB."""
        names = chainer_names(Architecture.full_size("vgg_bn", 16))
        shapes = Architecture.full_size("vgg_bn", 16).shapes
        with zipfile.ZipFile(tmp_path / "snapshot_iter_1", "w", zipfile.ZIP_DEFLATED) as archive:

            def write(key, shape, dtype="f"):
                with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.zeros(shape, dtype))

            for name, shape in shapes.items():
                write(f"updater/model:main/predictor/{names[name]}", shape, "i8" if names[name].endswith("N") else "f")
                if is_parameter(name):
                    for slot in "mv":
                        write(f"updater/optimizer:main/predictor/{names[name]}/{slot}", shape)
            for key in ("updater/optimizer:main/t", "updater/optimizer:main/epoch", "updater/iteration"):
                write(key, (), "i8")
        checkpoint = converters.read(tmp_path / "snapshot_iter_1")
        assert sum(array.nbytes for _, array in checkpoint.tensors()) > 1_600_000_000

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_memory_stays_below_twice_what_is_honest(self, zeros):
        path, total = zeros
        program = f"""
            import safetensors, converters
            peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
            before = peak()
            converters.read({str(path)!r})
            print(peak() - before)
        """
        command = [sys.executable, "-c", textwrap.dedent(program)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        assert total <= int(run.stdout) < 1.5 * total


class TestOthers:
    def test_a_safetensors_header_that_claims_terabytes(self, tmp_path, read_within_limits):
        header = b'{"fc8.bias":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (HUGE, 4 * HUGE)
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
        refused(path, "the safetensors file cannot be opened")
        assert "the safetensors file cannot be opened" in read_within_limits(path)

    @pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**12, 200_000_000])
    def test_a_safetensors_header_of_endless_length(self, length, tmp_path):
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", length) + b'{"a"' + bytes(100))
        refused(path, r"this safetensors file is cut short \(look for a whole copy\)")

    def test_a_tensor_that_repeats_one_number(self, tmp_path):
        torch = pytest.importorskip("torch")
        state = {name: torch.from_numpy(array) for name, array in in_torch_names(alexnet()).items()}
        torch.save({**state, "fc6.weight": torch.ones(1).expand(10**10, 108)}, tmp_path / "a.pt")
        refused(
            tmp_path / "a.pt",
            r"'fc6\.weight' of shape \(10000000000, 108\) has only 4 bytes \(save it as a dense float32 tensor\)",
        )

    def test_a_hdf5_dataset_that_was_never_written(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for key, array in alexnet().items():
                if key != "fc6/W":
                    file.create_dataset(key, data=array)
            file.create_dataset("fc6/W", (10**10, 108), "f4", chunks=(1000, 108), compression="gzip")
        refused(tmp_path / "a.h5", r"'fc6/W' says that it has 4320000000000 bytes, of which 0 are stored")

    def test_wrapped_members_without_end(self, tmp_path):
        """Many names of as many wrappers as a name has room for cost time, not memory: this is read in a moment."""
        arrays = wrapped(alexnet(), "module." * ((LONGEST_NAME - 20) // 7))
        refused(save_zip(tmp_path / "a.npz", members({**arrays, "x": np.ones(1, "f")})), "fit no architecture")
