"""Pictures are decoded whole or refused, and not before their header was asked how large they are."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deeppose_port.data.pictures import (
    MAX_PIXELS,
    PictureError,
    decode_picture,
    picture_of,
    picture_size,
    read_picture,
)

SUFFIXES = (".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".webp", ".jp2", ".ras")


@pytest.fixture(scope="module")
def smooth():
    noise = np.random.RandomState(0).randint(0, 256, (30, 40, 3)).astype(np.uint8)
    return cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)


def written(picture, path):
    """Writes a picture in the format of its suffix."""
    assert cv2.imwrite(str(path), picture[:, :, 0] if path.suffix == ".pgm" else picture)
    return path


def png_that_says(width, height, levels):
    """Returns a PNG of one-colour rows whose header says how large it is, compressed as well as it can be."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + bytes(3 * width)
    packer = zlib.compressobj(9)
    packed = b"".join([*(packer.compress(row) for _ in range(levels)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


class TestFormats:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_what_opencv_reads_is_read(self, smooth, suffix, tmp_path):
        path = written(smooth, tmp_path / f"a{suffix}")
        picture = read_picture(path)
        assert np.array_equal(picture, cv2.imread(str(path)))
        assert (picture.dtype, picture.flags.writeable) == (np.uint8, False)
        assert picture_size(path) == (160, 120)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.99])
    def test_what_is_cut_off_is_refused(self, smooth, suffix, part, tmp_path):
        path = written(smooth, tmp_path / f"a{suffix}")
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        with pytest.raises(PictureError, match=rf"a{suffix}: cannot be decoded"):
            read_picture(path)

    @pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]], ids=["baseline", "progressive"])
    @pytest.mark.parametrize("part", [0.5, 0.99])
    def test_a_jpeg_that_is_cut_off_is_taken_on_request(self, smooth, flags, part, tmp_path):
        whole = cv2.imencode(".jpg", smooth, flags)[1].ravel()
        whole[: int(part * whole.size)].tofile(tmp_path / "a.jpg")
        taken = read_picture(tmp_path / "a.jpg", allow_truncated=True)
        assert np.array_equal(taken, cv2.imread(str(tmp_path / "a.jpg")))  # which fills it up with grey
        assert not np.array_equal(taken, decode_picture(whole))

    def test_a_whole_jpeg_is_the_same_on_request(self, smooth, tmp_path):
        path = written(smooth, tmp_path / "a.jpg")
        assert np.array_equal(read_picture(path, allow_truncated=True), read_picture(path))

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_size_is_that_of_the_turned_picture(self, smooth, orientation, suffix, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(smooth).save(tmp_path / f"a{suffix}", exif=exif)
        height, width, _ = read_picture(tmp_path / f"a{suffix}").shape
        assert picture_size(tmp_path / f"a{suffix}") == (width, height)

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
    def test_xmp_turns_nothing_as_opencv_does_not_read_it(self, smooth, suffix, tmp_path):
        xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        words = PngInfo()
        words.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(smooth).save(
            tmp_path / f"a{suffix}", **({"pnginfo": words} if suffix == ".png" else {"xmp": xmp})
        )
        assert read_picture(tmp_path / f"a{suffix}").shape == smooth.shape
        assert picture_size(tmp_path / f"a{suffix}") == (160, 120)

    @pytest.mark.parametrize(
        "block",
        [
            pytest.param(b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", id="a short"),
            pytest.param(b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x04\0\0\0\x01\0\0\0\x06", id="a long"),
            pytest.param(b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x01\0\x01\0\0\0\x06\0\0\0", id="a byte"),
            pytest.param(b"II*\0\x08\0\0\0\x09\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", id="cut off"),
            pytest.param(b"II*\0\xff\0\0\0", id="beyond"),
            pytest.param(b"no", id="none"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's
    def test_whatever_the_exif_says_the_size_is_the_decoded_one(self, smooth, block, tmp_path):
        whole = cv2.imencode(".jpg", smooth)[1].tobytes()
        told = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
        (tmp_path / "a.jpg").write_bytes(whole[:2] + told + whole[2:])
        height, width, _ = read_picture(tmp_path / "a.jpg").shape
        assert picture_size(tmp_path / "a.jpg") == (width, height)

    @pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
    def test_exif_of_webp_begins_with_none_of_jpegs_words(self, smooth, prefix, tmp_path):
        block = prefix + b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)
        room = b"\xee" * len(block)
        Image.fromarray(smooth).save(tmp_path / "a.webp", exif=room)
        (tmp_path / "a.webp").write_bytes((tmp_path / "a.webp").read_bytes().replace(room, block))
        height, width, _ = read_picture(tmp_path / "a.webp").shape
        assert picture_size(tmp_path / "a.webp") == (width, height)
        assert (width > height) == bool(prefix)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_a_picture_of_16_bits_is_one_however_it_comes(self, suffix, tmp_path):
        levels = np.linspace(0, 65535, 160 * 120).reshape(120, 160).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"a{suffix}"), levels)
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert np.array_equal(picture_of(image), read_picture(tmp_path / f"a{suffix}"))

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_numbers_of_pillows_that_are_no_levels_are_refused(self, mode):
        image = Image.fromarray(np.linspace(0, 255, 16).reshape(4, 4)).convert(mode)
        assert picture_of(image).max() == 255
        with pytest.raises(PictureError, match=f"Pillow's mode {mode}, from 0 to 510; levels are 0 to 255"):
            picture_of(image.point(lambda level: level * 2 + 0))

    def test_a_cut_off_picture_of_pillows_is_refused_as_one(self, smooth, tmp_path):
        path = written(smooth, tmp_path / "a.png")
        path.write_bytes(path.read_bytes()[:-1000])
        with Image.open(path) as image, pytest.raises(PictureError, match="cannot be decoded: "):
            picture_of(image)

    @pytest.mark.parametrize(
        "content", [b"", b"\0", b"no\n", b"text", b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n" + bytes(50)]
    )
    def test_what_is_no_picture_is_refused(self, content, tmp_path):
        (tmp_path / "a.jpg").write_bytes(content)
        for read in (read_picture, picture_size):
            with pytest.raises(PictureError, match=r"a\.jpg: cannot be decoded") as caught:
                read(tmp_path / "a.jpg")
            assert "\n" not in str(caught.value)


class TestSizes:
    def test_a_bomb_is_refused_by_its_header(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png_that_says(30_000, 30_000, 1000))
        code = (
            "import resource, sys; from deeppose_port.data.pictures import read_picture\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try: read_picture(sys.argv[1])\n"
            "except ValueError as error: print(error)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        found = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True)
        message, kilobytes = found.stdout.splitlines()
        assert "30,000 x 30,000 pixels are more than the 178,956,970 that are decoded (--max-pixels" in message
        assert int(kilobytes) < 100_000

    def test_the_bound_can_be_moved(self, smooth, tmp_path):
        path = written(smooth, tmp_path / "a.png")
        assert read_picture(path, max_pixels=160 * 120).shape == smooth.shape
        with pytest.raises(PictureError, match="160 x 120 pixels are more than the 19,199 that are decoded"):
            read_picture(path, max_pixels=160 * 120 - 1)

    def test_more_than_pillows_own_bound_is_read_on_request(self, smooth, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        path = written(smooth, tmp_path / "a.png")
        assert read_picture(path).shape == smooth.shape
        assert picture_size(path) == (160, 120)

    def test_a_file_longer_than_any_picture_is_not_read(self, tmp_path):
        with (tmp_path / "a.bmp").open("wb") as file:
            file.write(b"BM")
            file.truncate(8 * MAX_PIXELS + 1)
        with pytest.raises(PictureError, match=r"it has 1,431,655,761 bytes, and such a file has at most"):
            read_picture(tmp_path / "a.bmp")


class TestFiles:
    @pytest.mark.parametrize("read", [read_picture, picture_size])
    def test_a_pipe_is_not_waited_for(self, read, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        with pytest.raises(PictureError, match=r"a\.png: cannot be read: this is a device or a pipe, not a file"):
            read(tmp_path / "a.png")

    def test_a_folder_is_none(self, tmp_path):
        with pytest.raises(PictureError, match="this is a folder, not a file"):
            read_picture(tmp_path)

    def test_what_is_not_there_is_said(self, tmp_path):
        with pytest.raises(PictureError, match=r"b\.png: there is no such picture$"):
            read_picture(tmp_path / "b.png")
