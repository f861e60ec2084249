"""Zips and npy members that are damaged, or that lie."""

import struct
import zipfile
import zlib

import numpy as np
import pytest

import converters
from converters import CheckpointError
from converters.formats import _zip
from tests.helpers.checkpoint_files import (
    adam_state,
    alexnet,
    members,
    npy,
    npy_claiming,
    refused,
    save_npz,
    save_zip,
    wrapped,
)


@pytest.fixture
def with_member(tmp_path):
    """An AlexNet's npz, one of whose members is something else."""

    def write(content, key="fc8/b", compression=zipfile.ZIP_DEFLATED):
        return save_zip(tmp_path / "a.npz", {**dict(members(alexnet())), f"{key}.npy": content}.items(), compression)

    return write


class TestZip:
    @pytest.mark.parametrize("part", [0.01, 0.2, 0.5, 0.9, 0.999])
    def test_a_file_that_was_cut_short(self, part, tmp_path):
        path = save_npz(tmp_path / "tmpepoch-1.model9ockau5t", wrapped(alexnet()))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        refused(path, r"this zip file is cut short or damaged \(look for a whole copy; an interrupted run leaves such")

    def test_a_file_of_ours_that_was_cut_short_in_its_comment(self, tmp_path):
        converters.convert(save_npz(tmp_path / "a.model", wrapped(alexnet())), tmp_path / "b.npz")
        whole = (tmp_path / "b.npz").read_bytes()
        (tmp_path / "b.npz").write_bytes(whole[:-100])
        refused(tmp_path / "b.npz", r"this zip file is cut short or damaged \(look for a whole copy")
        (tmp_path / "b.npz").write_bytes(whole[:-1] + b"]")
        refused(
            tmp_path / "b.npz", r"what it says of itself at its end is cut short or damaged \(look for a whole copy"
        )

    @pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
    def test_a_flipped_byte_in_an_array(self, compression, tmp_path):
        path = save_zip(tmp_path / "a.npz", members(alexnet()), compression)
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("conv1/W.npy")
        content[member.header_offset + 30 + len("conv1/W.npy") + member.compress_size - 200] ^= 1
        path.write_bytes(content)
        refused(path, r"'conv1/W' is damaged: .* \(look for a")

    def test_a_member_twice(self, tmp_path):
        content = [*members(alexnet()), ("fc8/b.npy", npy(np.zeros(14, np.float32)))]
        refused(
            save_zip(tmp_path / "a.npz", content), r"it holds 'fc8/b' twice \(one of them would be lost; nothing was"
        )

    def test_an_object_twice(self, tmp_path):
        content = [*members(alexnet()), *([("x.npy", npy(np.array(None)))] * 2)]
        refused(save_zip(tmp_path / "a.npz", content), "it holds 'x' twice")

    @pytest.mark.parametrize("name", ["../fc8/b", "/etc/fc8/b", "..\\fc8\\b", "C:/fc8/b", "../../tmp/x"])
    def test_names_that_point_elsewhere(self, name, tmp_path):
        (tmp_path / "inner").mkdir()
        path = save_zip(tmp_path / "inner" / "a.npz", [*members(alexnet()), (f"{name}.npy", npy(np.ones(2, "f")))])
        refused(path, "fit no architecture; nearest is .*: unexpected |names a place outside of the file")
        assert [item.name for item in tmp_path.iterdir()] == ["inner"]

    @pytest.mark.parametrize("name", ["updater/../../x", "extensions/..", "updater\\..\\x"])
    def test_names_that_point_elsewhere_in_a_trainers_section(self, name, tmp_path):
        """Where any name may be: it would be written again as it is."""
        arrays = {
            **wrapped(alexnet(), "updater/model:main/"),
            **wrapped(adam_state(alexnet()), "updater/optimizer:main/"),
            name: np.ones(3),
        }
        refused(save_zip(tmp_path / "a", members(arrays)), r"names a place outside of the file \(nothing was read\)")

    @pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o010644, 0o040755])
    def test_a_link_a_device_a_pipe_and_a_folder_are_no_arrays(self, mode, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name, content in members(alexnet()):
                member = zipfile.ZipInfo(name)
                if name == "fc8/b.npy":
                    member.external_attr = mode << 16
                    content = b"/etc/passwd" if mode == 0o120777 else content
                archive.writestr(member, content)
        refused(tmp_path / "a.npz", r"'fc8/b\.npy' is no array but a link or a device \(nothing was read\)")

    @pytest.mark.parametrize("mode", [0o100644, 0o600, 0])
    def test_a_file_of_any_mode_is_an_array(self, mode, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name, content in members(alexnet()):
                member = zipfile.ZipInfo(name)
                member.external_attr = mode << 16
                archive.writestr(member, content)
        assert converters.read(tmp_path / "a.npz").joints == 7

    def test_members_that_overlap(self, tmp_path):
        """As in a bomb of many members that are all the same bytes: each is honest by itself."""
        zeros = npy(np.zeros(1_000_000, np.float32))
        path = save_zip(tmp_path / "a.npz", [("a0.npy", zeros)])
        content = bytearray(path.read_bytes())
        start = content.index(b"PK\x01\x02")
        entry, end = content[start : content.index(b"PK\x05\x06")], content[-22:]
        entries = b"".join(entry.replace(b"a0.npy", b"a%d.npy" % i) for i in range(10))
        end = end[:8] + struct.pack("<2H2I", 10, 10, len(entries), start) + end[20:]
        path.write_bytes(content[:start] + entries + end)
        refused(
            path, r"'a\d\.npy' cannot have 4000128 bytes in a file of|there is another member where the zip's direct"
        )

    def test_members_inside_of_members(self, tmp_path):
        """Each is honest, name and checksum too, but its array is the file of the next: together they are far more."""
        levels, file = [], b""
        for i in range(20):
            name = b"a%d.npy" % i
            content = npy(np.frombuffer(file or bytes(1000), np.uint8))
            sizes = struct.pack("<3I2H", zlib.crc32(content), len(content), len(content), len(name), 0)
            local = b"PK\3\4" + struct.pack("<5H", 20, 0, 0, 0, 33) + sizes + name
            levels.append((name, sizes, len(local) + len(content) - len(file)))
            file = local + content
        directory, start = b"", 0
        for name, sizes, before_the_next in reversed(levels):
            directory += b"PK\1\2" + struct.pack("<6H", 20, 20, 0, 0, 0, 33) + sizes
            directory += struct.pack("<3H2I", 0, 0, 0, 0, start) + name
            start += before_the_next
        end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 20, 20, len(directory), len(file), 0)
        path = tmp_path / "a.npz"
        path.write_bytes(file + directory + end)
        sizes = {m.filename: len(b"".join(_zip.read_member(path, m, 1 << 20))) for m in _zip.directory(path)[0]}
        assert (sizes["a0.npy"], sizes["a1.npy"]) == (1128, 1292)
        refused(path, r"'a\d+\.npy' cannot have \d+ bytes in a file of \d+ \(the file is damaged")

    def test_headers_that_contradict_the_directory(self, tmp_path):
        path = save_npz(tmp_path / "a.npz", alexnet())
        content = path.read_bytes()
        path.write_bytes(content.replace(b"conv1/W.npy", b"conv1/X.npy", 1))
        refused(path, "'conv1/W' is damaged: there is another member where the zip's directory says")
        at = content.index(b"PK\x03\x04") + 8
        path.write_bytes(content[:at] + b"\x00\x00" + content[at + 2 :])
        refused(path, "'conv1/W' is damaged: its own header and the zip's directory contradict each other")

    def test_an_encrypted_member(self, tmp_path):
        path = save_npz(tmp_path / "a.npz", alexnet())
        content = path.read_bytes()
        content = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
        if content == path.read_bytes():  # another version of zipfile marks itself otherwise
            content = bytearray(content)
            for start in range(len(content) - 4):
                if content[start : start + 4] == b"PK\x01\x02":
                    content[start + 8] |= 1
        path.write_bytes(content)
        refused(path, r"'conv1/W\.npy' is encrypted, which no checkpoint is \(decrypt it first\)")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compressions_that_no_chainer_used(self, method, tmp_path):
        path = save_zip(tmp_path / "a.npz", members(alexnet()), method)
        refused(path, rf"'conv1/W\.npy' is compressed by method {method}, which no checkpoint's is")

    @pytest.mark.parametrize("method", [9, 95, 97, 99])
    def test_compressions_that_are_not_known(self, method, tmp_path):
        path = save_npz(tmp_path / "a.npz", alexnet())
        content = bytearray(path.read_bytes())
        for start in range(len(content) - 4):
            if content[start : start + 4] == b"PK\x01\x02":
                content[start + 10 : start + 12] = struct.pack("<H", method)
        path.write_bytes(content)
        refused(path, rf"is compressed by method {method}, which no checkpoint's is \(only what is stored or deflated")

    @pytest.mark.parametrize("name", ["fc8/b\nerror: all is well", "\x1b[2Kfc8/b", "fc8/\u2028b", "fc8/b" * 20])
    def test_names_do_not_write_lines_of_their_own(self, name, tmp_path):
        path = save_zip(tmp_path / "a.npz", [*members(alexnet()), (f"{name}.npy", npy(np.ones(2, "f")))])
        assert refused(path, "unexpected").isprintable()


class TestNpy:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x93NUM",
            b"text",
            b"\x93NUMPY",
            b"\x93NUMPY\x01\x00",
            b"\x93NUMPY\x01\x00\xff\xff{",
            npy_claiming(""),
            npy_claiming("{}"),
            npy_claiming("[1]"),
            npy_claiming("__import__('os')"),
            npy_claiming("{'descr': '<f4', 'fortran_order': False}"),
            npy_claiming({"descr": "<f4", "fortran_order": 5, "shape": (14,)}, bytes(56)),
            npy_claiming({"descr": "<f4", "fortran_order": False, "shape": 14}, bytes(56)),
            npy_claiming({"descr": "<f4", "fortran_order": False, "shape": ("14",)}, bytes(56)),
            npy_claiming({"descr": "<q9", "fortran_order": False, "shape": (14,)}, bytes(56)),
            npy_claiming({"descr": (), "fortran_order": False, "shape": (14,)}, bytes(56)),
            npy_claiming({"descr": [("a",)], "fortran_order": False, "shape": (14,)}, bytes(56)),
            npy_claiming({"descr": 5, "fortran_order": False, "shape": (14,)}, bytes(56)),
            npy_claiming("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000),
            npy_claiming("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 8000 + ",)}"),
            npy_claiming({"descr": "<f4", "fortran_order": False, "shape": (14,), "x": "y" * 20_000}, bytes(56)),
        ],
    )
    def test_a_member_that_is_no_npy(self, content, with_member):
        refused(with_member(content), r"'fc8/b' is no npy array: .* \(look for a whole copy\)")

    @pytest.mark.parametrize("version", [(2, 0), (3, 0), (9, 9)])
    def test_versions_that_no_chainer_wrote(self, version, with_member):
        header = {"descr": "<f4", "fortran_order": False, "shape": (14,)}
        refused(with_member(npy_claiming(header, bytes(56), version)), "'fc8/b' is no npy array: .*version")

    @pytest.mark.parametrize("length", [0, 13, 15, 28, 10**12, 2**62])
    def test_a_header_that_claims_another_shape(self, length, with_member):
        header = {"descr": "<f4", "fortran_order": False, "shape": (length,)}
        refused(
            with_member(npy_claiming(header, bytes(56))),
            r"'fc8/b' should take \d+ bytes but has \d+ \(the file is damaged; look for another copy\)",
        )

    @pytest.mark.parametrize("shape", [(-14,), (-7, -2), (-1,), (14, -1)])
    def test_a_negative_shape(self, shape, with_member):
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        refused(with_member(npy_claiming(header, bytes(56))), "'fc8/b' is no npy array: it claims the shape")

    @pytest.mark.parametrize("descr", ["|V0", "<U0", "|S0"])
    def test_a_kind_without_bytes(self, descr, with_member):
        header = {"descr": descr, "fortran_order": False, "shape": (10**12,)}
        refused(with_member(npy_claiming(header)), "'fc8/b' is no npy array: it claims the shape")

    def test_a_kind_with_parts(self, with_member):
        header = {"descr": [("a", "<f4"), ("b", "<f4")], "fortran_order": False, "shape": (7,)}
        refused(with_member(npy_claiming(header, bytes(56))), r"fc8/b of dtype void64 instead of a floating-point")

    @pytest.mark.parametrize("shape", [(0, 10**30), (1,) * 65, (0, 2**63)])
    def test_shapes_that_numpy_cannot_have(self, shape, tmp_path):
        """In a trainer's section, where any array may be."""
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        data = bytes(4 if 0 not in shape else 0)
        arrays = {
            **wrapped(alexnet(), "updater/model:main/"),
            **wrapped(adam_state(alexnet()), "updater/optimizer:main/"),
        }
        content = [*members(arrays), ("updater/odd.npy", npy_claiming(header, data))]
        with pytest.raises(CheckpointError, match=r"'updater/odd' (of shape .* cannot be held in memory|is no npy)"):
            converters.read(save_zip(tmp_path / "a", content))

    def test_bytes_after_the_array(self, with_member):
        refused(with_member(npy(alexnet()["fc8/b"]) + b"more"), "'fc8/b' should take 184 bytes but has 188")

    def test_fortran_order_of_a_weight_is_no_lie(self, with_member):
        array = alexnet()["fc7/W"]
        header = {"descr": "<f4", "fortran_order": True, "shape": array.shape}
        path = with_member(npy_claiming(header, array.tobytes("F")), key="fc7/W")
        assert np.array_equal(converters.read(path).weights["fc7.weight"], array)
