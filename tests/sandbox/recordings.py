"""Recordings made on the spot: sounds of a known length, with or without their text in the file."""

import io
import math
from array import array

import av

RATE = 16_000
BLOCK = 1600


def recording(seconds: float = 1.0, *, text: str = "", form: str = "wav") -> bytes:
    """A tone as wav or mp3; the text goes where PyAV reads `comment`: LIST/INFO ICMT or ID3."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        if text:
            container.metadata["comment"] = text
        stream = container.add_stream("pcm_s16le" if form == "wav" else "libmp3lame", rate=RATE, layout="mono")
        stream.format = "s16" if form == "wav" else "s16p"
        tone = array("h", (int(9000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(BLOCK))).tobytes()
        for index in range(round(seconds * RATE / BLOCK)):
            frame = av.AudioFrame(format="s16p" if form == "mp3" else "s16", layout="mono", samples=BLOCK)
            frame.planes[0].update(tone)
            frame.sample_rate, frame.pts = RATE, index * BLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
