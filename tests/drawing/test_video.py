"""Videos: what is read of them, and what is written."""

import importlib.util

import cv2
import numpy as np
import pytest
from PIL import Image

from deeppose_port.drawing import video
from deeppose_port.drawing.video import Gif, Video, is_animated, opened
from deeppose_port.drawing.video_writing import WITHOUT_PYAV, video_writer
from tests.helpers.films import UNEVEN, film

BOTH = pytest.mark.parametrize("pyav", [True, False], ids=["pyav", "opencv"])
ORANGE = np.array([20, 90, 220])  # BGR


def copied(source, target):
    """Writes the frames of a video as another, with an orange corner; returns what is good to know."""
    with opened(source) as frames:
        writer = None
        for frame in frames:
            image = frame.image.copy()
            height, width = image.shape[:2]
            image[: height // 2, : width // 2] = ORANGE
            writer = writer or video_writer(target, frames.fps, width, height, source)
            writer.write(image, frame.time)
        writer.close()
    return writer.notices


def streams(path):
    """Returns, by the kind of each stream of a file, its codec, the times of its packets and their bytes."""
    import av

    with av.open(str(path)) as container:
        told = {s.type: (s.codec_context.name, [], []) for s in container.streams}
        for packet in container.demux():
            if packet.pts is not None:
                told[packet.stream.type][1].append(float(packet.pts * packet.time_base))
                told[packet.stream.type][2].append(bytes(packet))
    return told


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "source.mp4")


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("made") / "drawn.mp4"
    assert copied(source, target) == []
    return target


class TestH264:
    def test_frames_have_their_own_times(self, made):
        codec, times, _ = streams(made)["video"]
        assert codec == "h264"
        assert sorted(times) == pytest.approx(UNEVEN, abs=1e-4)

    def test_sound_is_copied_packet_by_packet(self, source, made):
        assert streams(made)["audio"] == streams(source)["audio"]

    def test_colours_are_those_that_were_drawn(self, made):
        import av

        with av.open(str(made)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        _, image = cv2.VideoCapture(str(made)).read()
        assert np.abs(image[4:28, 4:44] - ORANGE).max() < 8
        assert np.abs(image[40:60, 60:90] - 20.0).max() < 12

    def test_odd_sides_lose_their_last_row_and_column(self, tmp_path):
        pytest.importorskip("av")
        writer = video_writer(tmp_path / "odd.mp4", 5, 97, 63)
        for i in range(3):
            writer.write(np.full((63, 97, 3), 60 * i, np.uint8), i / 5)
        writer.close()
        frames = [frame.image.shape for frame in Video(tmp_path / "odd.mp4")]
        assert frames == [(62, 96, 3)] * 3

    def test_sound_that_an_mp4_cannot_hold_is_said(self, tmp_path):
        source = film(tmp_path / "a.avi", codec="mpeg4", sound="pcm_alaw")
        (notice,) = copied(source, tmp_path / "b.mp4")
        assert notice == f"{source}: an MP4 cannot hold its sound (pcm_alaw), which is left out"
        assert list(streams(tmp_path / "b.mp4")) == ["video"]

    def test_without_pyav_it_is_said_what_to_install(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(video, "has_pyav", lambda: False)
        monkeypatch.setattr("deeppose_port.drawing.video_writing.has_pyav", lambda: False)
        assert copied(source, tmp_path / "a.mp4") == [WITHOUT_PYAV]
        assert "pip install 'deeppose-port[video]'" in WITHOUT_PYAV
        assert list(streams(tmp_path / "a.mp4")) == ["video"]
        # Its frames are even in time, so that one that lasts is there several times.
        seen = [round(float(frame.image[50:, 60:].mean()), -1) for frame in Video(tmp_path / "a.mp4")]
        assert seen == sorted(seen)
        assert len(set(seen)) == len(UNEVEN) < len(seen) <= len(UNEVEN) + 3


class TestWhole:
    """No false alarm about missing frames, and none missed."""

    @pytest.fixture(autouse=True)
    def reader(self, pyav, monkeypatch):
        if pyav and importlib.util.find_spec("av") is None:
            pytest.skip("PyAV is not installed")
        monkeypatch.setattr(video, "has_pyav", lambda: pyav)

    def missing(self, path):
        with Video(path) as frames:
            *_, last = frames
            return frames, frames.broken_off(last.index + 1, last.time)

    @BOTH
    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
    def test_an_announcement_that_is_a_guess_is_no_alarm(self, tmp_path, name):
        frames, missing = self.missing(film(tmp_path / name))
        assert missing == ""
        frames.frames = 10  # announced, two more than there are
        assert frames.broken_off(8, 1.04) == ""
        frames.frames = 300 if name == "a.mkv" else 9
        frames.fps = frames.frames / 1.08  # as where the rate is guessed from the shortest time between two
        assert frames.broken_off(8, 1.04) == ""

    @BOTH
    @pytest.mark.parametrize(("name", "options"), [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {})])
    def test_a_file_that_is_cut_off(self, tmp_path, name, options):
        path = film(tmp_path / name, [i / 25 for i in range(100)], sound=None, options=options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        frames, missing = self.missing(path)
        assert frames.frames >= 100
        assert "it breaks off after" in missing or "frames could be decoded" in missing

    @BOTH
    def test_frames_that_are_not_decoded(self, tmp_path):
        path = film(tmp_path / "a.mp4", [i / 25 for i in range(50)], sound=None)
        with Video(path) as frames:
            assert frames.broken_off(30, 1.16) == "30 of 50 frames could be decoded"


class TestGifs:
    @pytest.fixture
    def gif(self, tmp_path):
        """Four frames, which last 100, 200, 50 and 300 ms, whose left half moves."""
        images = [Image.new("RGB", (60, 40), (10 * i, 200, 30)) for i in range(4)]
        for i, image in enumerate(images):
            image.paste((250, 0, 0), (0, 0, 5 + 5 * i, 40))
        last = {"append_images": images[1:], "duration": [100, 200, 50, 300]}
        images[0].save(tmp_path / "a.gif", save_all=True, loop=0, **last)
        return tmp_path / "a.gif"

    def test_frames_and_their_times_are_read(self, gif):
        assert is_animated(gif)
        with opened(gif) as frames:
            assert isinstance(frames, Gif)
            told = list(frames)
            assert frames.broken_off(4, told[-1].time) == ""
        assert [frame.time for frame in told] == pytest.approx([0, 0.1, 0.3, 0.35])
        for i, frame in enumerate(told):
            np.testing.assert_allclose(frame.image[20, 55], [30, 200, 10 * i], atol=6)
            np.testing.assert_allclose(frame.image[20, 2 + 5 * i], [0, 0, 250], atol=6)

    def test_they_are_written_as_such(self, gif, tmp_path):
        assert copied(gif, tmp_path / "b.gif") == []
        with Image.open(tmp_path / "b.gif") as made:
            assert made.info["loop"] == 0
            lasting = []
            for i in range(made.n_frames):
                made.seek(i)
                lasting.append(made.info["duration"])
                np.testing.assert_allclose(made.convert("RGB").getpixel((55, 35)), (10 * i, 200, 30), atol=6)
                np.testing.assert_allclose(made.convert("RGB").getpixel((5, 5)), ORANGE[::-1], atol=6)
        assert lasting == [100, 200, 50, 50]

    def test_a_frame_lasts_as_long_as_there_is_room_for(self, tmp_path):
        writer = video_writer(tmp_path / "a.gif", 1, 9, 9)
        for time in (0.0, 700.0):
            writer.write(np.zeros((9, 9, 3), np.uint8), time)
        writer.close()
        with Image.open(tmp_path / "a.gif") as made:
            assert made.info["duration"] == 655_350

    def test_a_still_one_is_a_picture(self, tmp_path):
        Image.new("RGB", (9, 9)).save(tmp_path / "still.gif")
        (tmp_path / "no.gif").write_bytes(b"GIF89a" + bytes(9))
        (tmp_path / "a.png").write_bytes(b"")
        assert [is_animated(tmp_path / name) for name in ("still.gif", "no.gif", "a.png", "gone.gif")] == [False] * 4

    def test_one_that_is_cut_off_is_said(self, gif):
        gif.write_bytes(gif.read_bytes()[:-40])
        with opened(gif) as frames:
            told = list(frames)
            assert "frames could be decoded" in frames.broken_off(len(told), 0)
