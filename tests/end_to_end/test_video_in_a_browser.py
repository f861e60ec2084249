"""Drawn videos in a real browser. Needs PyAV, playwright and a Chromium that knows H.264."""

import base64

import pytest

import deeppose_port
from deeppose_port.predict import predict_files
from tests.end_to_end.test_browser import browser as browser  # a fixture
from tests.helpers.films import film
from tests.helpers.networks import random_checkpoint

PLAYED = """async () => {
  const video = document.querySelector("video");
  if (!video.canPlayType('video/mp4; codecs="avc1.64001f, mp4a.40.2"')) return null;
  video.muted = true;
  await video.play();
  await new Promise(done => { video.onended = done; });
  return [video.videoWidth, video.videoHeight, video.duration, video.currentTime,
          video.webkitDecodedFrameCount, video.webkitAudioDecodedByteCount];
}"""


def test_a_drawn_video_plays_with_its_sound(browser, tmp_path):
    source = film(tmp_path / "clip.mp4", [i / 25 for i in range(20)], size=(160, 96))
    pose = deeppose_port.load(random_checkpoint())
    (video,) = predict_files(pose, [source], tmp_path / "out").videos
    content = base64.b64encode(video.drawing.read_bytes()).decode()
    page = browser.new_page()
    page.set_content(f'<video src="data:video/mp4;base64,{content}"></video>')
    played = page.evaluate(PLAYED)
    page.close()
    if played is None:
        pytest.skip("this Chromium has no H.264")
    width, height, seconds, at, frames, sound = played
    assert (width, height) == (160, 96)
    assert seconds == pytest.approx(0.8, abs=0.1)
    assert at == seconds
    assert frames >= 19
    assert sound > 1000
