"""Cameras and streams, by stand-ins: what comes of them is whole however they end."""

import json
import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port.cli import main
from deeppose_port.drawing import window
from deeppose_port.drawing.video import Stream, Video
from deeppose_port.drawing.window import Window
from deeppose_port.predict import Detected, predict_files
from tests.helpers.films import film
from tests.helpers.networks import random_checkpoint
from tests.helpers.streams import wait_until


class Capture:
    """A camera of so many frames, each brighter; it waits before each, and opens for nobody where it has none."""

    def __init__(self, frames=1_000_000, wait=0.0, announced=0.0):
        self.frames, self.wait, self.announced = frames, wait, announced
        self.taken, self.released, self.told = 0, False, ()

    def __call__(self, *told):
        self.told = told
        return self

    def isOpened(self):  # noqa: N802
        return self.frames > 0

    def get(self, what):
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: self.announced}.get(what, 0.0)

    def read(self):
        time.sleep(self.wait)
        if self.taken == self.frames:
            return False, None
        self.taken += 1
        return True, np.full((48, 64, 3), self.taken % 256, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture(scope="module")
def pose():
    return deeppose_port.load(random_checkpoint())


@pytest.fixture
def camera(monkeypatch):
    """Puts a stand-in in OpenCV's place for what is opened by a number or an address."""
    real = cv2.VideoCapture

    def put(capture):
        def opened(what, *told):
            return real(what, *told) if str(what).endswith(".mp4") else capture(what, *told)

        monkeypatch.setattr(cv2, "VideoCapture", opened)
        return capture

    return put


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestStream:
    def test_whoever_is_slow_gets_the_newest(self, camera):
        capture = camera(Capture(wait=0.002))
        with Stream("0") as frames:
            assert frames.live
            taken = []
            for frame in frames:
                taken.append(frame)
                after = capture.taken + 3
                assert wait_until(lambda least=after: capture.taken >= least)
                if len(taken) == 5:
                    frames.end()
        assert capture.told == (0,)
        assert capture.released
        assert [frame.index for frame in taken] == list(range(5))
        assert taken[0].time == 0
        assert np.diff([frame.time for frame in taken]).min() > 0
        assert np.diff([int(frame.image[0, 0, 0]) for frame in taken]).min() > 1

    def test_all_frames_of_one_that_has_an_end(self, camera):
        camera(Capture(frames=30, announced=30.0))
        with Stream("http://host/clip.m3u8") as frames:
            assert not frames.live
            assert [frame.image[0, 0, 0] for frame in frames] == list(range(1, 31))

    def test_one_that_breaks_off_ends(self, camera):
        camera(Capture(frames=3, wait=0.03))
        with Stream("rtsp://host/1") as frames:
            assert len(list(frames)) == 3

    @pytest.mark.parametrize(
        ("address", "frames", "announced", "said"),
        [
            ("http://host/a.m3u8", 30, 100.0, "30 of 100 frames could be had"),
            ("http://host/a.m3u8", 98, 100.0, ""),
            ("http://host/live", 30, 0.0, ""),
            ("rtsp://host/1", 30, 100.0, ""),
        ],
    )
    def test_a_file_behind_an_address_that_breaks_off(self, camera, address, frames, announced, said):
        camera(Capture(frames=frames, announced=announced))
        with Stream(address) as stream:
            assert stream.broken_off(frames, (frames - 1) / 25) == said
            assert stream.broken_off(frames, announced / 25) == ""  # the number was a guess
            stream.end()  # as Ctrl-C does
            assert stream.broken_off(frames, (frames - 1) / 25) == ""

    @pytest.mark.parametrize(("name", "what"), [("7", "a camera"), ("rtsp://host/1", "a stream that can be played")])
    def test_one_that_is_not_there_is_said(self, camera, name, what):
        camera(Capture(frames=0))
        with pytest.raises(ValueError, match=f"^{name}: cannot be opened; is it {what}"):
            Stream(name)


class TestPredicting:
    def test_ctrl_c_ends_it_with_all_that_was_written(self, pose, camera, tmp_path):
        camera(Capture(wait=0.002))
        before = signal.getsignal(signal.SIGINT)
        seen = []

        def progress(done, total):
            seen.append(done)
            if done == 4:
                os.kill(os.getpid(), signal.SIGINT)

        result = predict_files(pose, ["0"], tmp_path / "out", progress=progress)
        assert signal.getsignal(signal.SIGINT) == before
        (taken,) = result.videos
        assert str(taken.video) == "0"
        assert result.failures == ()
        assert 4 <= taken.frames <= 6
        assert taken.drawing == tmp_path / "out" / "camera-0_pose.mp4"
        assert [row["frame"] for row in lines(taken.file)] == list(range(taken.frames))
        assert len(list(Video(taken.drawing))) >= taken.frames

    def test_a_second_ctrl_c_ends_the_program(self, pose, camera, tmp_path):
        camera(Capture(wait=0.002))

        def detector(image):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return []

        with pytest.raises(KeyboardInterrupt):
            predict_files(pose, ["0"], tmp_path / "out", people=Detected(detector, "mine"))
        assert not (tmp_path / "out").exists()
        assert threading.active_count() < 20

    def test_every_frame_is_answered_before_the_next_is_taken(self, pose, camera, tmp_path):
        capture = camera(Capture(frames=40, wait=0.03))
        behind = []

        def show(drawing):
            behind.append(capture.taken - int(drawing[0, 0, 0]))
            time.sleep(0.4 if len(behind) == 1 else 0)  # the frames that are taken meanwhile are not kept
            return True

        result = predict_files(pose, ["0"], tmp_path / "out", show=show)
        assert result.videos[0].frames == len(behind)
        assert np.median(behind[1:6]) <= 3

    def test_what_breaks_off_is_said(self, pose, camera, tmp_path):
        camera(Capture(frames=3, announced=100.0))
        (failure,) = predict_files(pose, ["http://127.0.0.1:9/a.m3u8"], tmp_path / "out").failures
        assert failure.reason == "http://127.0.0.1:9/a.m3u8: 3 of 100 frames could be had; those are drawn"

    @pytest.mark.parametrize("frames", [5, 20])
    def test_sound_is_as_long_as_what_is_shown(self, pose, tmp_path, frames):
        av = pytest.importorskip("av")
        source = film(tmp_path / "a.mp4", [i / 10 for i in range(20)])
        left = iter([True] * (frames - 1) + [frames == 20])
        (made,) = predict_files(pose, [source], tmp_path / "out", show=lambda drawing: next(left)).videos
        with av.open(str(made.drawing)) as container:
            ends = [float((p.pts + p.duration) * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
        assert ends[-1] == pytest.approx(frames / 10 if frames == 5 else 1.9, abs=0.06)

    def test_a_window_ends_it(self, pose, camera, tmp_path):
        camera(Capture(wait=0.002))
        result = predict_files(pose, ["0"], tmp_path / "out", show=lambda drawing: False)
        assert result.videos[0].frames == 1


class TestWindow:
    @pytest.fixture
    def keys(self, monkeypatch):
        """Stands in for a window: gives the key that is pressed each time; what was shown is in `shown`."""
        monkeypatch.setenv("DISPLAY", ":9")
        monkeypatch.setattr(window, "_has_windows", lambda: True)
        keys, shown = [], []
        monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", lambda wait: keys.pop(0) if keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, what: 1.0)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append(None))
        return keys, shown

    def test_without_windows_it_is_said_what_to_install(self, monkeypatch):
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
        with pytest.raises(
            ValueError, match=r"one has none \(pip uninstall -y opencv-python-headless; pip install open"
        ):
            Window()

    def test_without_a_display_it_is_said(self, monkeypatch):
        monkeypatch.setattr(window, "_has_windows", lambda: True)
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ValueError, match="--show takes a display, and there is none"):
            Window()

    def test_frames_are_shown_until_q(self, keys, camera, tmp_path, capsys):
        pressed, shown = keys
        pressed += [-1, -1, ord("q")]
        camera(Capture(wait=0.002))
        converters.write(random_checkpoint(), tmp_path / "some.pt")
        told = ["predict", str(tmp_path / "some.pt"), "0", "--show", "-o", str(tmp_path / "out"), "--backend", "torch"]
        assert main(told) == 0
        assert len(shown) == 4
        assert shown[-1] is None
        assert "camera-0_pose.mp4, 3 frames" in capsys.readouterr().out

    def test_pictures_are_not_shown(self, keys, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
        assert main(["predict", str(tmp_path / "a.png"), "--show", "-o", str(tmp_path / "out")]) == 2
        assert "--show is for videos, cameras and streams" in capsys.readouterr().err
