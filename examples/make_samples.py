"""Makes the samples of this folder again: speech by espeak-ng, pictures by Pillow. Needs espeak-ng on PATH.

Every recording carries its own words in its comment tag, so that the simulator can transcribe it without a recogniser.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import av
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SAMPLE_RATE = 16_000  # what speech recognisers are trained on; 32 kB a second as 16-bit WAV
WORDS_PER_MINUTE = "165"

SPEECH = {
    "speech/lighthouse.wav": "The lighthouse keeper counts the ships that pass before the morning fog.",
    "speech/kite.wav": "A red kite turns slowly over the green hills.",
    "speech/recipe.mp3": "Fold the flour into the batter, then let it rest for a quarter of an hour.",
}
MP3_BIT_RATE = 32_000


def make_speech(target: Path, text: str) -> None:
    """Speak the text into a WAV or MP3 file whose comment tag holds it."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        command = ["espeak-ng", "-v", "en-gb", "-s", WORDS_PER_MINUTE, "-w", str(spoken), text]
        subprocess.run(command, check=True)
        _convert(spoken, target, text)


def make_picture(target: Path) -> None:
    """Draw a red kite over hills: the frame that a video starts from."""
    width, height = 640, 360
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        shade = y * 90 // height
        draw.line([(0, y), (width, y)], fill=(120 + shade, 180 + shade // 2, 235))
    draw.ellipse((480, 40, 550, 110), fill=(255, 240, 190))
    draw.polygon([(0, 360), (0, 250), (170, 190), (360, 280), (520, 210), (640, 260), (640, 360)], fill=(60, 120, 70))
    draw.polygon([(0, 360), (0, 300), (240, 260), (460, 330), (640, 290), (640, 360)], fill=(40, 90, 55))
    draw.polygon([(300, 80), (345, 130), (300, 200), (255, 130)], fill=(200, 40, 40))
    draw.line([(300, 80), (300, 200)], fill=(120, 20, 20), width=2)
    draw.line([(255, 130), (345, 130)], fill=(120, 20, 20), width=2)
    draw.line([(300, 200), (280, 240), (310, 270), (250, 330)], fill=(90, 60, 40), width=2)
    picture.save(target, optimize=True)


def _convert(source: Path, target: Path, text: str) -> None:
    codec = "libmp3lame" if target.suffix == ".mp3" else "pcm_s16le"
    with av.open(str(source)) as spoken, av.open(str(target), "w") as written:
        written.metadata["comment"] = text
        stream = written.add_stream(codec, rate=SAMPLE_RATE)
        assert isinstance(stream, av.AudioStream)
        stream.layout = av.AudioLayout("mono")
        if target.suffix == ".mp3":
            stream.bit_rate = MP3_BIT_RATE
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=SAMPLE_RATE)
        for frame in [*spoken.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                written.mux(stream.encode(piece))
        written.mux(stream.encode(None))


def main() -> None:
    """Make every sample and print its size."""
    for name, text in SPEECH.items():
        make_speech(HERE / name, text)
    make_picture(HERE / "pictures" / "kite.png")
    for path in sorted([*HERE.glob("speech/*"), *HERE.glob("pictures/*")]):
        print(f"{path.stat().st_size:>8}  {path.relative_to(HERE)}")


if __name__ == "__main__":
    main()
