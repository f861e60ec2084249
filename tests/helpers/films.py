"""Small videos, made by PyAV as cameras and screen recorders make them."""

from fractions import Fraction

import numpy as np
import pytest

#: Times of frames that are not even, seconds.
UNEVEN = (0.0, 0.1, 0.15, 0.4, 0.5, 0.9, 1.0, 1.04)


def film(path, times=UNEVEN, *, codec="libx264", sound="aac", size=(96, 64), options=None):
    """Writes a video whose frames are each brighter by 20, with a tone of 440 Hz; `sound` None is a silent one."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = container.add_stream(codec, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 1000 if codec == "libx264" else 25)
        tone = None if sound is None else container.add_stream(sound, rate=48000)
        for i, time in enumerate(times):
            grey = np.full((size[1], size[0], 3), 20 + 20 * i % 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="bgr24")
            frame.time_base = pictures.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        if tone is not None:
            layout = tone.codec_context.format.name
            for start in range(0, int(48000 * times[-1]), 1024):
                wave = 0.1 * np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / 48000)[np.newaxis]
                samples = wave.astype(np.float32) if layout == "fltp" else (32767 * wave).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(samples, format=layout, layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path
