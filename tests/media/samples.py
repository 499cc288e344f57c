"""Small real files, made by Pillow, PyAV and the wave module: the table that every media test walks over."""

from __future__ import annotations

import io
import tempfile
import wave
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import av
from PIL import Image

WIDTH, HEIGHT = 64, 48
AUDIO_RATE = 16000


def _picture(form: str, size: tuple[int, int] = (12, 7), **options: object) -> bytes:
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    target = io.BytesIO()
    picture.save(target, form, **options)
    return target.getvalue()


def _animation(form: str) -> bytes:
    frames = [Image.new("RGB", (12, 7), (shade, 0, 0)) for shade in (0, 90, 200)]
    target = io.BytesIO()
    frames[0].save(target, form, save_all=True, append_images=frames[1:], duration=50)
    return target.getvalue()


def _film(form: str, **options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"  # a file: faststart reads back what it has written
        with av.open(str(path), "w", format=form, options=options) as container:
            _encode_film(container)
        return path.read_bytes()


def _encode_film(container: Any) -> None:  # noqa: ANN401 - PyAV types streams by codec name
    video = container.add_stream("libx264", rate=10)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    audio = container.add_stream("aac", rate=AUDIO_RATE)
    for index in range(10):
        frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
        frame.planes[0].update(bytes([index * 20]) * frame.planes[0].buffer_size)
        frame.pts = index
        container.mux(video.encode(frame))
    for index in range(16):
        container.mux(audio.encode(_silence("fltp", 1024, index)))
    for stream in (video, audio):
        container.mux(stream.encode(None))


def _silence(form: str, count: int, index: int) -> av.AudioFrame:
    frame = av.AudioFrame(form, "mono", count)
    frame.rate, frame.pts = AUDIO_RATE, index * count
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    return frame


def _mp3(**options: str) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp3", options=options) as container:
        stream: Any = container.add_stream("libmp3lame", rate=AUDIO_RATE)
        for index in range(8):
            container.mux(stream.encode(_silence("fltp", 576, index)))
        container.mux(stream.encode(None))
    return target.getvalue()


def _wav() -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(800))
    return target.getvalue()


def _long_sized(film: bytes) -> bytes:
    """Merge the 8 free bytes before `mdat` into a 64-bit size, as writers of large files do."""
    at = film.index(b"mdat") - 4
    size = int.from_bytes(film[at : at + 4], "big")
    assert film[at - 4 : at] == b"free"
    return film[: at - 8] + (1).to_bytes(4, "big") + b"mdat" + (size + 8).to_bytes(8, "big") + film[at + 8 :]


def _open_ended(film: bytes) -> bytes:
    """Give the last box, `mdat`, the size 0: it reaches to the end of the file."""
    at = film.index(b"mdat") - 4
    return film[:at] + bytes(4) + film[at + 4 :]


MAKERS: Mapping[str, Callable[[], bytes]] = {
    "png": lambda: _picture("PNG"),
    "jpeg": lambda: _picture("JPEG"),
    "jpeg-progressive": lambda: _picture("JPEG", progressive=True),
    "webp": lambda: _picture("WEBP"),
    "webp-lossless": lambda: _picture("WEBP", lossless=True),
    "webp-animated": lambda: _animation("WEBP"),
    "gif": lambda: _picture("GIF"),
    "gif-animated": lambda: _animation("GIF"),
    "wav": _wav,
    "mp3": _mp3,
    "mp4": lambda: _film("mp4"),
    "mp4-faststart": lambda: _film("mp4", movflags="faststart"),
    "mp4-long-sized": lambda: _long_sized(_film("mp4", movflags="faststart")),
    "mp4-open-ended": lambda: _open_ended(_film("mp4", movflags="faststart")),
    "mov": lambda: _film("mov"),
}
LOOSE_MAKERS: Mapping[str, Callable[[], bytes]] = {
    "mp4-fragmented": lambda: _film("mp4", movflags="frag_keyframe+empty_moov+default_base_moof"),
    "mp3-without-total": lambda: _mp3(write_xing="0"),
}
"""Formats that carry no total: a cut between two frames or fragments cannot be proven, and the facts say so."""


@cache
def sample(name: str) -> bytes:
    """Return one of the samples."""
    return {**MAKERS, **LOOSE_MAKERS}[name]()
