"""What is said in a recording, as far as it can be known offline: the text the file carries in its comment (WAV
LIST/INFO ICMT, ID3 COMM), else what an installed recogniser understands, else a sentence that says so.
"""

import importlib
import io
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import av

CONTAINERS = frozenset(("wav", "mp3"))
RECOGNISER = "pocketsphinx"
RECOGNISER_RATE = 16_000


@dataclass(frozen=True)
class Heard:
    """A recording's length and words."""

    seconds: float
    text: str


def hear(audio: bytes, *, most_seconds: float) -> Heard | None:
    """Measures the recording and finds its words; None when it is neither wav nor mp3. A recording longer than
    `most_seconds` is only measured.
    """
    try:
        with av.open(io.BytesIO(audio), "r") as container:
            if container.format.name not in CONTAINERS or not container.streams.audio:
                return None
            comment = container.metadata.get("comment", "").strip()
            seconds, samples = _decoded(container, keep=not comment, most_seconds=most_seconds)
    except (av.FFmpegError, ValueError):
        return None
    if seconds <= 0:
        return None
    text = comment or (_recognised(samples) if seconds <= most_seconds else "")
    return Heard(seconds, text or f"[sandbox: the words of this recording of {seconds:.1f} seconds are not known]")


def _decoded(container: av.container.InputContainer, *, keep: bool, most_seconds: float) -> tuple[float, bytes]:
    """The length by its samples, since a header may be wrong, and the sound as the recogniser wants it."""
    resampler = av.AudioResampler("s16", "mono", RECOGNISER_RATE) if keep and _recogniser() is not None else None
    samples, seconds, pieces = 0, 0.0, []
    for frame in container.decode(audio=0):
        samples += frame.samples
        seconds = samples / frame.sample_rate
        if seconds > most_seconds + 1:
            break
        if resampler is not None:
            pieces += [bytes(part.planes[0])[: part.samples * 2] for part in resampler.resample(frame)]
    return seconds, b"".join(pieces)


@lru_cache(maxsize=1)
def _recogniser() -> Any:  # noqa: ANN401 - the optional package has no types
    try:
        module = importlib.import_module(RECOGNISER)
    except ImportError:
        return None
    return module.Decoder(samprate=RECOGNISER_RATE, loglevel="FATAL")


_RECOGNISING = Lock()


def _recognised(samples: bytes) -> str:
    decoder = _recogniser()
    if decoder is None or not samples:
        return ""
    with _RECOGNISING:
        decoder.start_utt()
        decoder.process_raw(samples, no_search=False, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found else ""
