"""Lists of pictures: every one once, whatever happens in between."""

import dataclasses
import functools
import http.server
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import deeppose_port
from deeppose_port.cli import main
from deeppose_port.cli.options import EngineOptions, own_device
from deeppose_port.data import PoseDataset
from deeppose_port.data.crop import Crop
from deeppose_port.data.pictures import decode_picture
from deeppose_port.data.pixels import Window, decode_window
from deeppose_port.data.view import View
from deeppose_port.predict import Detected, Found, Given, Listed, manifest
from deeppose_port.predict.manifest import Asked, predict_manifest
from tests.conftest import PICTURES, ROOT
from tests.helpers.networks import random_checkpoint


@pytest.fixture(scope="module")
def pose():
    return deeppose_port.load(random_checkpoint(), backend="auto")


@pytest.fixture
def pictures(tmp_path):
    """Seven JPEGs, of which one is none, and their list."""
    random = np.random.default_rng(0)
    for i in range(7):
        noise = cv2.GaussianBlur(random.integers(0, 256, (480, 640, 3), np.uint8), (0, 0), 8)
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    (tmp_path / "3.jpg").write_bytes(b"nothing")
    (tmp_path / "list.txt").write_text("\n".join(["", *(str(tmp_path / f"{i}.jpg") for i in range(7)), "", ""]))
    return tmp_path


@pytest.fixture
def run(pose, pictures, monkeypatch):
    monkeypatch.setattr(manifest, "PART", 2)
    return functools.partial(predict_manifest, lambda: pose, pictures / "list.txt", pictures / "out")


def records(folder):
    return [json.loads(line) for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


class TestParts:
    def test_every_picture_has_its_line(self, run, pose, pictures):
        result = run()
        assert (result.pictures, result.done, result.failures) == (7, 7, 1)
        found = records(result.folder)
        assert [each["line"] for each in found] == list(range(1, 8))
        assert [each["image"] for each in found] == [str(pictures / f"{i}.jpg") for i in range(7)]
        assert found[3]["persons"] == []
        assert f"{pictures}/3.jpg: cannot be decoded" in found[3]["error"]
        (person,) = found[5]["persons"]
        np.testing.assert_allclose(person["points"], pose.predict(cv2.imread(str(pictures / "5.jpg"))), atol=2e-3)

    def test_what_is_there_is_not_done_again(self, run):
        class Killed(BaseException):
            pass

        def kill(done, total):
            if done == 4:
                raise Killed

        with pytest.raises(Killed):
            run(progress=kill)
        before = {path: path.stat().st_mtime_ns for path in sorted(run.args[2].glob("part-*"))}
        assert len(before) == 2
        assert run().done == 3
        assert [each["line"] for each in records(run.args[2])] == list(range(1, 8))
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        assert run().done == 0

    @pytest.mark.parametrize("format", ["jsonl", "parquet"])
    def test_what_is_there_is_counted_or_found_damaged(self, run, pictures, format):
        if format == "parquet":
            pytest.importorskip("pyarrow")
        asked = Asked(format=format)
        run(asked)
        (pictures / "out" / f"part-000002.{format}").unlink()
        result = run(asked)
        assert (result.done, result.failures, result.failures_before) == (2, 0, 1)
        last = pictures / "out" / f"part-000003.{format}"
        shutil.copy(pictures / "out" / f"part-000002.{format}", last)
        with pytest.raises(ValueError, match=r"part-000003.*: this part is damaged: it has 2 pictures in place of 1"):
            run(asked)
        last.write_bytes(b"{}\n" if format == "jsonl" else b"PAR1")
        with pytest.raises(ValueError, match=r"part-000003.*: this part is damaged: .*without it, it is predicted"):
            run(asked)

    def test_processes_share_the_parts(self, run):
        assert [run(share=(rank, 2)).done for rank in (0, 1)] == [4, 3]
        assert [each["line"] for each in records(run.args[2])] == list(range(1, 8))

    def test_a_process_that_is_not_among_them_is_refused(self, run, pictures):
        with pytest.raises(ValueError, match="there is no process 2 of 2"):
            run(share=(2, 2))
        assert not (pictures / "out").exists()

    def test_parts_of_another_list_or_network_are_refused(self, run, pictures):
        run()
        (pictures / "list.txt").write_text(str(pictures / "0.jpg"))
        with pytest.raises(ValueError, match="the parts here are of another manifest"):
            run()
        (pictures / "out" / "manifest.json").write_text("[" * 20000)
        with pytest.raises(ValueError, match=r"manifest\.json: not JSON text .* \(-o names another folder"):
            run()
        (pictures / "out" / "manifest.json").unlink()
        with pytest.raises(ValueError, match=r"there are parts here, but no manifest\.json"):
            run()

    @pytest.mark.parametrize(
        ("more", "problem"),
        [
            ({"people": Given([(0, 0, 9, 10)])}, "persons' boxes"),
            ({"people": Given([(0, 0, 9, 9)], faces=[(0, 0, 9, 9)])}, "persons' boxes"),
            ({"people": Detected(len, "d")}, "persons' boxes"),
            ({"people": Listed(Path("b.csv"), {"0.jpg": [Found((0, 0, 9, 9))]})}, "persons' boxes"),
            ({"fast_decode": True}, "--fast-decode"),
            ({"allow_truncated": True}, "--allow-truncated"),
            ({"max_pixels": 1}, "--max-pixels"),
        ],
    )
    def test_parts_that_were_asked_otherwise_are_refused(self, run, more, problem):
        asked = Asked(Given([(0, 0, 9, 9)]))
        run(asked)
        with pytest.raises(ValueError, match=f"the parts here were predicted with other {problem} .-o names another"):
            run(dataclasses.replace(asked, **more))
        assert run(asked).done == 0

    def test_parts_of_the_same_boxes_in_a_file_go_on(self, run, pose, monkeypatch):
        def of_a_file(score):
            return Asked(Listed(Path("b.csv"), {f"{i}.jpg": [Found((0, 0, 99, 99), score)] for i in range(7)}))

        run(of_a_file(0.9))
        assert run(of_a_file(0.9)).done == 0
        with pytest.raises(ValueError, match="predicted with other persons' boxes"):
            run(of_a_file(0.8))
        monkeypatch.setattr(pose, "preprocessing", dataclasses.replace(pose.preprocessing, base_zoom=9))
        with pytest.raises(ValueError, match="predicted with other preprocessing"):
            run(of_a_file(0.9))

    def test_a_list_may_be_from_another_system(self, run, pictures):
        names = [str(pictures / f"{i}.jpg") for i in (0, 1)]
        (pictures / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n\u3000\r\n".join(names).encode())
        result = run()
        assert (result.pictures, result.done, result.failures) == (2, 2, 0)

    def test_a_list_of_nothing_is_refused(self, run, pictures):
        (pictures / "list.txt").write_text("\n \n")
        with pytest.raises(ValueError, match=r"list\.txt: no picture is in this list"):
            run()

    def test_persons_have_their_boxes(self, run):
        run(Asked(Given([(10, 20, 300, 400), (-9, -9, 2, 2)])))
        found = records(run.args[2])[0]
        assert [(person["person"], person["box"]) for person in found["persons"]] == [(1, [10, 20, 300, 400])]
        assert found["error"].startswith("person 2: nothing is left of the box")

    def test_a_detector_sees_the_pictures(self, run):
        seen = []
        run(Asked(Detected(lambda image: seen.append(image.shape) or [(0, 0, 100, 100)], "d"), fast_decode=True))
        assert seen == [(480, 640, 3)] * 6

    @pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
    def test_parquet_holds_the_same(self, run, pictures):
        from pyarrow import parquet

        run(Asked(format="parquet"))
        rows = [
            row
            for path in sorted((pictures / "out").glob("part-*.parquet"))
            for row in parquet.read_table(path).to_pylist()
        ]
        assert [row["line"] for row in rows] == list(range(1, 8))
        assert len(rows[0]["persons"][0]["points"]) == 7

    @pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
    def test_a_name_that_is_no_utf8_goes_into_parquet_too(self, run, pictures):
        from pyarrow import parquet

        (pictures / "list.txt").write_bytes(b"caf\xe9.jpg\n")
        assert run(Asked(format="parquet")).failures == 1
        (row,) = parquet.read_table(pictures / "out" / "part-000000.parquet").to_pylist()
        assert row["image"] == r"caf\udce9.jpg"

    def test_a_format_that_there_is_not(self, run):
        with pytest.raises(ValueError, match="there are jsonl, parquet"):
            run(Asked(format="csv"))


class TestUrls:
    @pytest.fixture
    def server(self, pictures):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *told):
                pass

        handler = functools.partial(Quiet, directory=str(pictures))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def test_pictures_are_fetched(self, run, pictures, server):
        names = [f"{server}/0.jpg", f"{server}/gone.jpg", "ftp://host/0.jpg", str(pictures / "0.jpg")]
        (pictures / "list.txt").write_text("\n".join(names))
        assert run().failures == 2
        found = records(pictures / "out")
        assert found[0]["persons"] == found[3]["persons"] != []
        assert f"{server}/gone.jpg: cannot be fetched: " in found[1]["error"]
        assert "ftp://host/0.jpg: this is not fetched; there are http, https, s3" in found[2]["error"]


class TestFastDecode:
    @pytest.mark.parametrize(("side", "factor"), [(219, 1), (439, 1), (440, 2), (900, 4), (1760, 8), (3520, 8)])
    def test_a_jpeg_is_reduced_where_enough_pixels_are_left(self, side, factor):
        picture = np.full((2 * side, 2 * side, 3), 100, np.uint8)
        data = cv2.imencode(".jpg", picture)[1].ravel()
        window = decode_window(data, [Crop(0, 0, side, side, 220)])
        assert window.pixels.shape[0] == -(-2 * side // factor)
        assert (window.width, window.height) == (2 * side, 2 * side)
        assert decode_window(data, [Crop(0, 0, side, side, 220), Crop(0, 0, 9, 9, 220)]).pixels.shape == picture.shape

    def test_a_png_is_not(self):
        data = cv2.imencode(".png", np.full((1000, 1000, 3), 100, np.uint8))[1].ravel()
        assert decode_window(data, [Crop(0, 0, 500, 500, 220)]).scale == (1, 1)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_what_is_seen_stays_where_it_is(self, factor, orientation):
        """A dot near the far corner of a picture whose sides are no multiples of what it is reduced by."""
        picture = np.full((8 * 60 + 1, 8 * 70 + 3, 3), 255, np.uint8)
        cv2.circle(picture, (8 * 70 - 40, 8 * 60 - 50), 24, (0, 0, 0), -1)
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(file, "JPEG", exif=exif)
        data = np.frombuffer(file.getvalue(), np.uint8)
        whole = decode_picture(data)
        height, width, _ = whole.shape
        crop = Crop(0, 0, width, height, min(height, width) // factor)
        window = decode_window(data, [crop])
        assert window.scale == (1 / factor, 1 / factor)
        dots = []
        for seen in (Window.whole(whole), window):
            dark = 255.0 - seen.cut(crop)[:, :, 0]
            rows, columns = np.indices(dark.shape)
            dots.append(np.array([(dark * columns).sum(), (dark * rows).sum()]) / dark.sum() / crop.scale)
        assert np.abs(dots[0] - dots[1]).max() < 0.3 * factor

    def test_joints_stay_where_they_are(self, tmp_path):
        cv2.imwrite(str(tmp_path / "a.jpg"), cv2.imread(str(PICTURES / "astronaut.png")))
        (tmp_path / "list.txt").write_text(str(tmp_path / "a.jpg"))
        trained = deeppose_port.load(ROOT / "examples" / "astronaut" / "epoch-300.model", backend="auto")
        found = []
        for fast in (False, True):
            asked = Asked(Given([(0, 2, 500, 510)]), fast_decode=fast)
            folder = predict_manifest(lambda: trained, tmp_path / "list.txt", tmp_path / f"{fast}", asked).folder
            found.append(records(folder)[0]["persons"][0]["points"])
        assert 0 < np.abs(np.subtract(*found)).max() < 8  # pixels of 500

    def test_evaluation_does_it_only_when_it_is_asked_to(self, pictures):
        (pictures / "a.csv").write_text("0.jpg," + ",".join(["100", "100", "400", "400"] + ["200", "200"] * 5) + "\n")
        told = {"images": pictures, "skeleton": "flic"}
        exact, again, fast = (
            PoseDataset(pictures / "a.csv", **told, **more)[0] for more in ({}, {}, {"fast_decode": True})
        )
        assert np.array_equal(exact[0], again[0])
        assert not np.array_equal(exact[0], fast[0])
        assert np.abs(exact[0] - fast[0]).mean() < 0.2
        assert np.array_equal(exact[1], fast[1])

    def test_a_turned_picture_is_turned(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.zeros((400, 900, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
        data = np.fromfile(tmp_path / "a.jpg", np.uint8)
        window = decode_window(data, [View.of_box(None, 400, 900, random_checkpoint().preprocessing).crop])
        assert (window.width, window.height) == (400, 900)
        assert window.pixels.shape[:2] in ((900, 400), (450, 200))


class TestCommand:
    @pytest.fixture
    def predict(self, pictures, capsys):
        def predict(*more, status=0):
            checkpoint = ROOT / "examples" / "astronaut" / "epoch-300.model"
            command = ["predict", str(checkpoint), "-o", str(pictures / "out"), *map(str, more)]
            assert main(command) == status
            return capsys.readouterr()

        return predict

    def test_a_list_is_predicted(self, predict, pictures):
        shown = predict("--manifest", pictures / "list.txt", "--fast-decode", status=3)
        assert "7 pictures of 7 predicted now, 1 of which have an error in place of joints" in shown.out
        told = json.loads(predict("--manifest", pictures / "list.txt", "--fast-decode", "--json", status=3).out)
        assert (told["done"], told["failures"], told["failures_before"]) == (0, 0, 1)
        shown = predict("--manifest", pictures / "list.txt", "--fast-decode", status=3)
        assert "0 pictures of 7 predicted now; of those before 1 have one" in shown.out

    @pytest.mark.parametrize(
        ("more", "phrase"),
        [
            (("--engine", "ray", "a.png"), "--engine ray goes with --manifest"),
            (("--fast-decode", "a.png"), "--fast-decode goes with --manifest"),
            (("--format", "parquet", "a.png"), "--format parquet goes with --manifest"),
            (("--manifest", "list.txt", "a.png"), "or a --manifest"),
            (("--manifest", "list.txt", "--tile", "2x2"), "draws and overwrites nothing"),
        ],
    )
    def test_what_does_not_go_together(self, predict, more, phrase):
        assert phrase in predict(*more, status=2).err

    @pytest.mark.end_to_end
    @pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
    def test_rays_processes_share_it(self, pictures):
        checkpoint = ROOT / "examples" / "astronaut" / "epoch-300.model"
        told = ["--manifest", pictures / "list.txt", "-o", pictures / "out", "--engine", "ray", "--json"]
        command = [sys.executable, "-m", "deeppose_port", "predict", checkpoint, *told]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert result.returncode == 3, result.stderr
        assert [each["line"] for each in records(pictures / "out")] == list(range(1, 8))


@pytest.mark.parametrize(
    "option", [["--heatmaps"], ["--stages"], ["--legacy-order"], ["--skeleton", "lsp"], ["--tile", "2x2"]]
)
def test_what_a_list_has_no_use_for_is_refused(option, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("a.png\n")
    said = ["predict", "--manifest", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out"), *option]
    assert main(said) == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(EngineOptions(device="cuda")).device == "cuda:3"
    assert own_device(EngineOptions(device="cuda:1")).device == "cuda:1"
    assert own_device(EngineOptions()).device == "cpu"
    monkeypatch.delenv("LOCAL_RANK")
    assert own_device(EngineOptions(device="cuda")).device == "cuda"
