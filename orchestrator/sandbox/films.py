"""Makes playable H.264 MP4 files, quickly: one short loop is encoded, and its packets are written as often as the film
is long. Loops are shared between tasks of one size; the comment in the file makes each film its own. Deterministic;
slow enough to belong off the event loop.
"""

import io
import math
import tempfile
from array import array
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.video.frame import VideoFrame
from PIL import ImageDraw

from orchestrator.sandbox.pictures_out import backdrop

# Different pictures in one loop; each is shown for several frames, which costs the encoder next to nothing.
STEPS = 12
# Each look of a size costs one encoding; two are enough to tell films apart at a glance.
LOOKS = 2
SHRINK = 4
SOUND_RATE = 48_000
SOUND_FRAME = 1024
TONE_HZ = 220
# Fast and the same on every run: one thread, no look-ahead, one closed group of pictures per loop.
X264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "30", "threads": "1"}
MP4 = {"movflags": "+faststart", "fflags": "+bitexact"}


@dataclass(frozen=True)
class _Packet:
    data: bytes
    pts: int
    is_keyframe: bool


@dataclass(frozen=True)
class Film:
    """What to make. `comment` is stored in the file and tells films of one look apart."""

    width: int
    height: int
    seconds: int
    fps: int
    has_audio: bool
    look: int
    comment: str


def make_film(film: Film) -> bytes:
    """The film as an MP4 file whose index comes first."""
    loop = _loop(film.width, film.height, film.fps, film.look % LOOKS)
    # The muxer opens a file a second time to move the index to its front, so it needs a real one.
    with tempfile.TemporaryDirectory(prefix="sandbox-film-") as folder:
        path = Path(folder) / "film.mp4"
        with av.open(path, "w", format="mp4", options=MP4) as out:
            out.metadata["comment"] = film.comment
            _write(out, film, loop)
        return path.read_bytes()


def _write(out: av.container.OutputContainer, film: Film, loop: tuple[_Packet, ...]) -> None:
    picture = _video_stream(out, film.width, film.height, film.fps)
    sound = out.add_stream("aac", rate=SOUND_RATE, layout="mono") if film.has_audio else None
    for start in range(0, film.seconds * film.fps, len(loop)):
        for piece in loop:
            packet = av.Packet(piece.data)
            packet.stream = picture
            packet.pts = packet.dts = start + piece.pts
            packet.duration = 1
            packet.time_base = Fraction(1, film.fps)
            packet.is_keyframe = piece.is_keyframe
            out.mux(packet)
    if sound is not None:
        for frame in _tone(film.seconds, film.look):
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))


def _video_stream(out: av.container.OutputContainer, width: int, height: int, fps: int) -> av.VideoStream:
    stream = out.add_stream("libx264", rate=fps, options=X264)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, fps)
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = fps
    return stream


@lru_cache(maxsize=64)
def _loop(width: int, height: int, fps: int, look: int) -> tuple[_Packet, ...]:
    """One second of film, or half of one at 60 frames a second, as packets that begin with a key frame."""
    count = min(fps, 30)
    with av.open(io.BytesIO(), "w", format="mp4") as out:
        coder = _video_stream(out, width, height, fps).codec_context
        packets = []
        for step in range(STEPS):
            frame = _frame(width, height, look, step)
            for pts in range(step * count // STEPS, (step + 1) * count // STEPS):
                frame.pts, frame.time_base = pts, Fraction(1, fps)
                packets += coder.encode(frame)
        packets += coder.encode(None)
    return tuple(_Packet(bytes(packet), packet.pts or 0, packet.is_keyframe) for packet in packets)


def _frame(width: int, height: int, look: int, step: int) -> VideoFrame:
    """A square on its way from left to right, drawn small and enlarged, which is quicker."""
    small = (width // SHRINK, height // SHRINK)
    picture = backdrop(*small, key=f"film {look}")
    side = min(small) // 6
    left, top = (small[0] - side) * step // (STEPS - 1), (small[1] - side) // 2
    ImageDraw.Draw(picture).rectangle((left, top, left + side, top + side), fill=(250, 210, 60))
    frame: VideoFrame = VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
    return frame.reformat(width, height, format="yuv420p", interpolation="FAST_BILINEAR")


def _tone(seconds: int, look: int) -> list[av.AudioFrame]:
    """A steady tone that ends no later than the picture."""
    pitch = TONE_HZ * (2 + look % LOOKS) // 2
    second = array("h", (int(6000 * math.sin(2 * math.pi * pitch * n / SOUND_RATE)) for n in range(SOUND_RATE)))
    samples = (second * (seconds + 1)).tobytes()
    frames = []
    for index in range(seconds * SOUND_RATE // SOUND_FRAME - 1):
        frame = av.AudioFrame(format="s16", layout="mono", samples=SOUND_FRAME)
        frame.planes[0].update(samples[index * SOUND_FRAME * 2 : (index + 1) * SOUND_FRAME * 2])
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, index * SOUND_FRAME, Fraction(1, SOUND_RATE)
        frames.append(frame)
    return frames
