"""What can be named to be predicted, and where it goes where nobody says."""

import http.server
import importlib
import io
import json
import sys
import threading
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from PIL import features

import converters
import deeppose_port
from converters.errors import DeepPoseError
from deeppose_port.cli import main
from deeppose_port.data.pictures import read_picture
from deeppose_port.predict import (
    PICTURE_SUFFIXES,
    Remote,
    fetching,
    is_source,
    predict_files,
    read_boxes,
    sources_in,
)
from deeppose_port.predict.manifest import predict_manifest
from tests.helpers.networks import random_checkpoint


@pytest.fixture(scope="module")
def pose():
    return deeppose_port.load(random_checkpoint())


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_the_pictures_of_a_folder_can_be_read(suffix, tmp_path):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    format = {".jfif": ".jpg", ".jpe": ".jpg", ".dib": ".bmp", ".pnm": ".ppm"}.get(suffix, suffix)
    picture = np.full((64, 72) if suffix in (".pbm", ".pgm") else (64, 72, 3), 255, np.uint8)
    (tmp_path / f"a{suffix.upper()}").write_bytes(cv2.imencode(format, picture)[1].tobytes())
    (found,) = sources_in(tmp_path)
    assert read_picture(found).shape == (64, 72, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures in a folder and in two under it."""
    random = np.random.RandomState(0)
    for name in ("a.png", "b.jpg", "deep/c.png", "deep/er/a.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.randint(0, 256, (30, 40, 3), np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with what `answers` has for a path: a content type and bytes."""

    answers: ClassVar = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/a.png")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path not in self.answers:
            self.send_error(404)
            return
        kind, data = self.answers[self.path]
        self.send_response(200)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) + 100 * (self.path == "/short.png")))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    picture = cv2.imencode(".png", np.random.RandomState(1).randint(0, 256, (30, 40, 3), np.uint8))[1].tobytes()
    Server.answers = {
        "/a.png": ("image/png", picture),
        "/plain": ("application/octet-stream; x=1", picture),
        "/page.png": ("text/html; charset=utf-8", b"<html>"),
        "/short.png": ("image/png", picture),
        "/broken.png": ("image/png", b"nothing"),
        "/camera": ("multipart/x-mixed-replace; boundary=x", b""),
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def names(sources):
    return [str(source) for source in sources]


class TestNames:
    def test_folders_are_looked_through_when_that_is_said(self, folder):
        assert names(sources_in("in")) == ["in/a.png", "in/b.jpg"]
        assert names(sources_in("in", recursive=True)) == ["in/a.png", "in/b.jpg", "in/deep/c.png", "in/deep/er/a.png"]
        assert names(sources_in("in", recursive=True, without=Path("in/deep"))) == ["in/a.png", "in/b.jpg"]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("in/*.png", ["in/a.png"]),
            ("in/*", ["in/a.png", "in/b.jpg"]),
            ("in/**/a.*", ["in/a.png", "in/deep/er/a.png"]),
            ("in/[bc].jpg", ["in/b.jpg"]),
            ("in/*.txt", ["in/notes.txt"]),
        ],
    )
    def test_patterns(self, folder, pattern, found):
        assert names(sources_in(pattern)) == found

    def test_a_file_of_such_a_name_is_that_file(self, folder):
        (folder / "a.png").rename("a[1].png")
        assert names(sources_in("a[1].png")) == ["a[1].png"]

    def test_a_pattern_leaves_out_the_folder_that_is_written_to(self, folder):
        deep = folder / "deep"
        assert names(sources_in("in/**/*.png", without=deep)) == ["in/a.png"]
        assert names(sources_in("in/*", recursive=True, without=deep)) == ["in/a.png", "in/b.jpg"]
        for pattern, own in (("in/deep/*.png", deep), ("in/*.png", folder), ("in/*.png", folder.parent)):
            assert sources_in(pattern, without=own)

    @pytest.mark.parametrize("address", ["http://[h/b.jpg", "rtsp://[h/b"])
    def test_what_is_no_address_is_refused(self, address):
        for named in (address, Remote(address)):
            with pytest.raises(DeepPoseError, match="this is no address"):
                sources_in(named)

    def test_a_pattern_of_nothing_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"in/\*\.bmp: no file matches this pattern"):
            sources_in("in/*.bmp")

    def test_cameras_and_streams(self, folder):
        for name in ("0", "rtsp://camera/1", "http://host/live.m3u8", "/dev/null"):
            assert [s.stream for s in sources_in(name) if isinstance(s, Remote)] == [True] * (name != "/dev/null")
        Path("0").mkdir()
        cv2.imwrite("0/a.png", np.zeros((9, 9, 3), np.uint8))
        assert names(sources_in("0")) == ["0/a.png"]

    def test_other_schemes_are_refused(self):
        with pytest.raises(ValueError, match=r"ftp://a/b\.png: there is no way to ftp here; there are http, https, "):
            sources_in("ftp://a/b.png")

    @pytest.mark.parametrize("name", ["a.png", "-", "0", "http://a/b", "rtsp://a", "*.xyz", "in", "clip.mp4"])
    def test_no_checkpoint_is_named_so(self, folder, name):
        assert is_source(name)
        assert not is_source("epoch-100.model")

    @pytest.mark.parametrize(
        ("address", "stem"),
        [("http://a.b/c/d%20e.png?f=g", "d_e"), ("http://a.b/", "a.b"), ("0", "camera-0"), ("http://a/%2e%2e", "..")],
    )
    def test_what_files_are_called(self, address, stem):
        assert Remote(address).stem == stem
        assert "/" not in Remote(address).stem


class TestAddresses:
    def test_pictures_are_fetched(self, pose, server, tmp_path):
        urls = [f"{server}/{name}" for name in ("a.png", "plain", "moved.png")]
        result = predict_files(pose, urls, tmp_path / "out")
        assert result.failures == ()
        assert names(p.image for p in result.pictures) == urls
        assert [p.drawing.name for p in result.pictures] == ["a_pose.png", "plain_pose.png", "moved_pose.png"]
        assert np.array_equal(result.pictures[0].points, result.pictures[1].points)
        written = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [each["image"] for each in written["pictures"]] == urls

    def test_each_failure_is_named_and_the_rest_goes_on(self, pose, server, tmp_path):
        told = {
            "gone.png": "cannot be fetched: .*404",
            "page.png": "it is text/html, not a picture",
            "short.png": "it ends after [0-9,]+ of [0-9,]+ bytes",
            "broken.png": "cannot be decoded",
        }
        sources = [f"{server}/{name}" for name in (*told, "a.png")]
        result = predict_files(pose, [*sources, "http://127.0.0.1:1/a.png"], tmp_path / "out")
        assert len(result.pictures) == 1
        assert len(result.failures) == 5
        for failure, (name, words) in zip(result.failures, told.items(), strict=False):
            assert failure.reason.startswith(f"{server}/{name}: ")
            with pytest.raises(AssertionError, match=words):
                raise AssertionError(failure.reason)

    def test_as_many_bytes_and_pixels_as_there_may_be(self, pose, server, tmp_path, monkeypatch):
        result = predict_files(pose, [f"{server}/a.png", tmp_path / "gone.png"], tmp_path / "one", max_pixels=2000)
        assert result.pictures
        with pytest.raises(ValueError, match=r"a\.png: 40 x 30 pixels are more than the 1,000"):
            predict_files(pose, [f"{server}/a.png"], tmp_path / "two", max_pixels=1000)
        monkeypatch.setattr(fetching, "_LARGEST", 100)
        with pytest.raises(ValueError, match=r"a\.png: it has [0-9,]+ bytes, and 100 are the most"):
            predict_files(pose, [f"{server}/a.png"], tmp_path / "three")
        monkeypatch.undo()
        monkeypatch.setattr(fetching, "_ALL_SECONDS", -1)
        with pytest.raises(ValueError, match=r"a\.png: it is not here after -1 seconds"):
            predict_files(pose, [f"{server}/a.png"], tmp_path / "four")

    def test_no_other_scheme_is_followed(self, server):
        with pytest.raises(ValueError, match="there are http, https, s3"):
            fetching.fetched("file:///etc/passwd")

    def test_a_server_tells_of_a_stream(self, server):
        assert [source.stream for source in sources_in(f"{server}/camera")] == [True]
        assert [source.stream for source in sources_in(f"{server}/plain")] == [False]

    def test_boxes_are_found_by_the_end_of_the_address(self, pose, server, tmp_path):
        (tmp_path / "boxes.csv").write_text("a.png,1,2,20,25\n")
        result = predict_files(pose, [f"{server}/a.png"], tmp_path / "out", people=read_boxes(tmp_path / "boxes.csv"))
        assert [p.box for p in result.pictures] == [(1, 2, 20, 25)]


class TestBuckets:
    @pytest.fixture
    def bucket(self, folder, monkeypatch):
        """A bucket in memory, in place of S3."""
        fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
        memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

        class Bucket(memory):
            protocol = ("s3",)
            store: ClassVar = {}
            pseudo_dirs: ClassVar = [""]

            @classmethod
            def _strip_protocol(cls, path):
                return super()._strip_protocol(str(path).removeprefix("s3://"))

        monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "s3", Bucket)
        system = fsspec.filesystem("s3")
        for name in ("a.png", "deep/c.png", "b.jpg"):
            system.pipe(f"/bucket/{name}", (folder / name).read_bytes())
        system.pipe("/bucket/notes.txt", b"no picture")
        return "s3://bucket"

    def test_a_picture_in_one(self, bucket, pose, folder, tmp_path):
        result = predict_files(pose, [f"{bucket}/a.png", f"{bucket}/gone.png", folder / "a.png"], tmp_path / "out")
        (failure,) = result.failures
        assert failure.reason.startswith("s3://bucket/gone.png: cannot be fetched")
        assert np.array_equal(result.pictures[0].points, result.pictures[1].points)

    def test_a_list_of_one(self, bucket, pose, tmp_path):
        result = predict_manifest(lambda: pose, f"{bucket}/", tmp_path / "out")
        assert (result.pictures, result.done, result.failures) == (3, 3, 0)
        names = result.manifest.read_text().splitlines()
        assert [name.rpartition("bucket/")[2] for name in names] == ["a.png", "b.jpg", "deep/c.png"]
        assert all(name.startswith("s3://") for name in names)
        assert predict_manifest(lambda: pose, f"{bucket}/", tmp_path / "out").done == 0

    def test_without_what_reads_it_it_is_said_what_to_install(self, tmp_path, monkeypatch, pose):
        monkeypatch.setitem(sys.modules, "fsspec.core", None)
        with pytest.raises(ValueError, match=r"s3://bucket/: buckets are read by fsspec: .* \(pip install fsspec and"):
            predict_manifest(lambda: pose, "s3://bucket/", tmp_path / "out")
        with pytest.raises(ValueError, match="a list is a file, or the address of a bucket"):
            predict_manifest(lambda: pose, "ftp://bucket/", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestFormats:
    @pytest.mark.parametrize(("image_format", "start"), [("jpg", b"\xff\xd8"), ("webp", b"RIFF"), ("png", b"\x89PNG")])
    def test_drawings_have_it(self, pose, folder, tmp_path, image_format, start):
        result = predict_files(pose, [folder / "a.png"], tmp_path / "out", image_format=image_format)
        (drawing,) = {p.drawing for p in result.pictures}
        assert drawing.name == f"a_pose.{image_format}"
        assert drawing.read_bytes().startswith(start)
        if image_format == "jpg":
            assert len(drawing.read_bytes()) < 10_000

    def test_another_is_refused(self, pose, folder, tmp_path):
        with pytest.raises(ValueError, match="there is no format 'bmp' for drawings; there are png, jpg, webp"):
            predict_files(pose, [folder], tmp_path / "out", image_format="bmp")

    def test_a_drawing_that_is_too_large_for_it_is_named(self, pose, folder, tmp_path):
        cv2.imwrite(str(folder / "wide.png"), np.zeros((2, 17_000, 3), np.uint8))
        result = predict_files(pose, [folder], tmp_path / "out", image_format="webp")
        (failure,) = result.failures
        assert "wide.png: a drawing of 17,000 x 2 pixels cannot be a webp; png can" in failure.reason
        assert (tmp_path / "out" / "b_pose.webp").exists()


class TestShares:
    def test_processes_share_pictures_and_their_names(self, pose, folder, tmp_path):
        told = {"recursive": True}
        for rank in range(3):
            predict_files(pose, [folder], tmp_path / "out", share=(rank, 3), **told)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            *("a_2_pose.png", "a_pose.png", "b_pose.png", "c_pose.png"),
            *(f"predictions-{i}-of-3.json" for i in (1, 2, 3)),
        ]
        whole = predict_files(pose, [folder], tmp_path / "whole", **told).as_dict()["pictures"]
        parts = [json.loads((tmp_path / "out" / f"predictions-{i}-of-3.json").read_text()) for i in (1, 2, 3)]
        found = {each["image"]: each["points"] for part in parts for each in part["pictures"]}
        assert found == {each["image"]: each["points"] for each in whole}

    def test_there_may_be_more_of_them_than_pictures(self, pose, folder, tmp_path):
        assert predict_files(pose, [folder], tmp_path / "out", share=(7, 8)).pictures == ()
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("share", [(1, 1), (-1, 2), (0, 0)])
    def test_one_that_is_not_among_them_is_refused(self, pose, folder, tmp_path, share):
        with pytest.raises(ValueError, match=f"there is no process {share[0]} of {share[1]}"):
            predict_files(pose, [folder], tmp_path / "out", share=share)

    @pytest.mark.parametrize("format", ["json", "csv"])
    def test_one_that_can_read_nothing_does_not_end_the_others(self, pose, folder, tmp_path, format):
        (folder / "a.png").write_bytes(b"nothing")
        result = predict_files(pose, [folder], tmp_path / "out", share=(0, 2), format=format)
        (failure,) = result.failures
        assert "a.png" in failure.reason
        assert result.file.name == f"predictions-1-of-2.{format}"
        assert result.file.exists()
        with pytest.raises(DeepPoseError, match=r"a\.png"):
            predict_files(pose, [folder / "a.png"], tmp_path / "alone")


class TestBadNames:
    def test_one_that_means_nothing_does_not_keep_the_others(self, pose, folder, tmp_path):
        wrong = ["http://[h/b.jpg", "gopher://h/a.jpg", "in/*.bmp"]
        for share in ((0, 1), (0, 2)):
            result = predict_files(pose, [wrong[0], folder, *wrong[1:]], tmp_path / f"out{share[1]}", share=share)
            assert [str(failure.source) for failure in result.failures] == wrong
            assert result.pictures
        assert predict_files(pose, [folder, *wrong], tmp_path / "out2", share=(1, 2)).failures == ()
        with pytest.raises(DeepPoseError, match="this is no address"):
            predict_files(pose, wrong, tmp_path / "none")

    def test_a_scheme_may_be_in_capitals(self, server):
        assert len(fetching.fetched(f"{server}/a.png".replace("http", "HTTP")))


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path, capsys):
        converters.write(random_checkpoint(), tmp_path / "some.pt")

        def command(*arguments, status=0):
            assert main(["predict", str(tmp_path / "some.pt"), *map(str, arguments)]) == status
            return capsys.readouterr()

        return command

    def test_a_default_folder_is_said_and_never_written_over(self, run, folder, tmp_path):
        assert "note: no -o was given, so everything goes to predictions\n" in run("in").err
        before = {path: path.stat().st_mtime_ns for path in Path("predictions").iterdir()}
        assert "everything goes to predictions-2\n" in run("in/a.png").err
        assert {path: path.stat().st_mtime_ns for path in Path("predictions").iterdir()} == before
        Path("predictions-3").write_text("a file")
        Path("predictions-4").mkdir()
        assert "everything goes to predictions-4\n" in run(".", "-r").err
        assert Path("predictions-4/a_pose.png").exists()

    def test_a_list_on_standard_input(self, run, folder, server, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"\nin/a.png\n  {server}/a.png \nin/gone.png\n"))
        shown = run("-", "in/b.jpg", "-o", "out", "--json", status=3)
        found = json.loads(shown.out)
        assert [each["image"] for each in found["pictures"]] == ["in/a.png", f"{server}/a.png", "in/b.jpg"]
        assert "error: in/gone.png: there is no such picture" in shown.err

    def test_a_bad_line_does_not_keep_the_others(self, run, folder, monkeypatch):
        monkeypatch.setattr("sys.stdin", io.StringIO("http://[h/b.jpg\nin/a.png\nin/*.bmp\n"))
        shown = run("-", "-o", "out", "--json", status=3)
        found = json.loads(shown.out)
        assert [each["image"] for each in found["pictures"]] == ["in/a.png"]
        assert [each["source"] for each in found["failures"]] == ["http://[h/b.jpg", "in/*.bmp"]
        assert "error: http://[h/b.jpg: this is no address\n" in shown.err
        assert "this is no address" in run("http://[h/b.jpg", "-o", "none", status=2).err

    @pytest.mark.parametrize("told", [["in/gone.png", "in/a.png"], ["--manifest", "list.txt"]])
    def test_torchrun_is_not_told_of_what_one_process_cannot_read(self, run, folder, monkeypatch, told):
        Path("list.txt").write_text("in/gone.png\nin/gone.png\nin/a.png\n")
        run(*told, "-o", "alone", status=3)
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        run(*told, "-o", "out")

    def test_patterns_addresses_and_formats(self, run, folder, server):
        shown = run("in/**/*.png", f"{server}/a.png", "-o", "out", "--image-format", "jpg")
        assert f"{server}/a.png -> out/a_3_pose.jpg" in shown.out
        assert len(list(Path("out").glob("*.jpg"))) == 4

    def test_torchruns_processes_share_it(self, run, folder, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert "name one folder with -o" in run("in", status=2).err
        run("in", "-o", "out")
        assert sorted(path.name for path in Path("out").iterdir()) == ["b_pose.png", "predictions-2-of-2.json"]
        assert "each of several processes has some" in run("in", "-o", "two", "--tile", "2x2", status=2).err

    def test_a_rank_among_nobody_shares_nothing(self, run, folder, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        run("in/a.png", "-o", "out")
        assert sorted(path.name for path in Path("out").iterdir()) == ["a_pose.png", "predictions.json"]

    @pytest.mark.parametrize("option", [["-r"], ["--show"], ["--image-format", "jpg"]])
    def test_what_goes_with_sources(self, run, folder, option):
        Path("list.txt").write_text("in/a.png\n")
        assert "goes with SOURCE" in run("--manifest", "list.txt", *option, status=2).err
