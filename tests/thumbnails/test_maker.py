"""Thumbnails of real pictures and films; and files that are made to hurt whoever decodes them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from struct import pack, unpack
from typing import Any

import av
import pytest
from PIL import Image

from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.thumbnails import thumbnail_key
from orchestrator.thumbnails import ThumbnailMaker, find_libraries
from orchestrator.thumbnails.maker import WORKER

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENT = 120.0
"""Seconds. A busy machine may take long to start a process; what is tested here is not how long."""
RED, BLUE = (220, 30, 30), (30, 40, 200)


def make(path: Path, content_type: str, pixels: int = 64) -> Image.Image:
    made = ThumbnailMaker(pixels, deadline_seconds=PATIENT).make(path, content_type)
    picture = Image.open(io.BytesIO(made.data))
    picture.load()
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (made.width, made.height))
    return picture


def colour(picture: Image.Image, x: float = 0.5, y: float = 0.5) -> tuple[int, int, int]:
    """Return the colour at a place, each side counted from 0 to 1."""
    place = (int(x * (picture.width - 1)), int(y * (picture.height - 1)))
    found = picture.convert("RGB").getpixel(place)
    assert isinstance(found, tuple)
    red, green, blue = found
    return int(red), int(green), int(blue)


def is_near(found: tuple[int, int, int], wanted: tuple[int, int, int], within: int = 30) -> bool:
    return all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))


def save(folder: Path, picture: Image.Image, form: str, **options: Any) -> Path:  # noqa: ANN401 - Pillow's
    path = folder / "picture"
    picture.save(path, form, **options)
    return path


# -- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_each_format_is_made_small_and_keeps_its_colours(tmp_path: Path, form: str) -> None:
    """Longest side as set, shape kept."""
    path = save(tmp_path, Image.new("RGB", (300, 150), RED), form)
    small = make(path, f"image/{form.lower()}")
    assert small.size == (64, 32)
    assert is_near(colour(small), RED)


def test_the_example_picture_looks_like_itself() -> None:
    """Not only its size: the same picture, smaller."""
    path = EXAMPLES / "pictures" / "kite.png"
    small = make(path, "image/png", 512)
    assert small.size == (512, 288)
    with Image.open(path) as whole:
        for x, y in ((0.1, 0.1), (0.5, 0.4), (0.9, 0.9)):
            assert is_near(colour(small, x, y), colour(whole.resize(small.size), x, y))


def test_a_small_picture_is_not_made_larger(tmp_path: Path) -> None:
    """Nothing is invented."""
    assert make(save(tmp_path, Image.new("RGB", (20, 10), BLUE), "PNG"), "image/png").size == (20, 10)


def test_a_camera_held_upright_gives_an_upright_thumbnail(tmp_path: Path) -> None:
    """EXIF orientation 6: the file lies on its side, left is what people see above."""
    lying = Image.new("RGB", (300, 150), RED)
    lying.paste(BLUE, (0, 0, 150, 150))
    exif = Image.Exif()
    exif[0x0112] = 6
    small = make(save(tmp_path, lying, "JPEG", exif=exif), "image/jpeg")
    assert small.size == (32, 64)
    assert is_near(colour(small, 0.5, 0.1), BLUE)
    assert is_near(colour(small, 0.5, 0.9), RED)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    """A JPEG has no holes."""
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 50, 100))
    options = {"transparency": 0} if mode == "P" else {}
    if mode == "P":
        flat = Image.new("P", (100, 100), 0)
        flat.putpalette([255, 0, 0, 0, 0, 0])
        flat.paste(1, (0, 0, 50, 100))
        picture = flat
    small = make(save(tmp_path, picture.convert(mode), "PNG", **options), "image/png")
    assert is_near(colour(small, 0.9), (255, 255, 255))
    assert is_near(colour(small, 0.1), (0, 0, 0))


def test_deep_greys_and_print_colours_are_shown_as_they_are(tmp_path: Path) -> None:
    """16 bits a pixel are not cut off at 255; CMYK becomes RGB."""
    grey = Image.new("I;16", (100, 50), 0x8000)
    assert is_near(colour(make(save(tmp_path, grey, "PNG"), "image/png")), (128, 128, 128))
    ink = Image.new("CMYK", (100, 50), (0, 255, 255, 0))
    assert is_near(colour(make(save(tmp_path, ink, "JPEG"), "image/jpeg")), (255, 0, 0), within=60)


# -- films -------------------------------------------------------------------------------------------------------


def film(
    path: Path, colours: Sequence[tuple[int, int, int] | Image.Image], *, each: int = 10, form: str = "mp4"
) -> Path:
    """Write a film of 10 frames a second that shows each colour for `each` frames."""
    with av.open(str(path), "w", format=form) as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for shade in colours:
            for _ in range(each):
                shown = shade if isinstance(shade, Image.Image) else Image.new("RGB", (160, 90), shade)
                frame: Any = av.VideoFrame.from_image(shown)  # type: ignore[no-untyped-call]
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("form", "content_type"), [("mp4", "video/mp4"), ("mov", "video/quicktime")])
def test_a_poster_is_the_first_frame_that_is_not_black(tmp_path: Path, form: str, content_type: str) -> None:
    """Films fade in: a black poster tells nobody anything."""
    path = film(tmp_path / "film", [(0, 0, 0), BLUE, RED], form=form)
    poster = make(path, content_type)
    assert poster.size == (64, 36)
    assert is_near(colour(poster), BLUE)


def test_a_film_that_stays_black_has_its_first_frame(tmp_path: Path) -> None:
    """No more than the first seconds are decoded: what comes later is not found."""
    path = film(tmp_path / "film", [(0, 0, 0), RED], each=60)
    assert is_near(colour(make(path, "video/mp4")), (0, 0, 0))


def matrix(film: bytes, *values: int) -> bytes:
    """Return the film with this matrix in its track's head: how players are to turn it."""
    place = film.index(b"tkhd") + 44
    return film[:place] + pack(">9i", *values) + film[place + 36 :]


ONE = 0x10000
TURNS = {
    "a quarter": (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    "an eighth": (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30),
    "nothing": (0,) * 9,
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_poster_stands_as_its_film_is_shown(tmp_path: Path, turn: str) -> None:
    """Telephones lie a film on its side and say so; what says nonsense still has a poster."""
    lying = Image.new("RGB", (160, 90), RED)
    lying.paste(BLUE, (0, 0, 80, 90))
    path = film(tmp_path / "film", [lying])
    path.write_bytes(matrix(path.read_bytes(), *TURNS[turn]))
    poster = make(path, "video/mp4")
    assert poster.size == ((36, 64) if turn == "a quarter" else (64, 36))
    if turn == "a quarter":  # clockwise: what was at the left is above
        assert is_near(colour(poster, 0.5, 0.1), BLUE)
        assert is_near(colour(poster, 0.5, 0.9), RED)


# -- files that are made to hurt -----------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that declares so many pixels."""
    head = chunk(b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def truncated_film(folder: Path) -> bytes:
    data = film(folder / "whole", [RED]).read_bytes()
    return data[: len(data) // 2]


HOSTILE: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "a bomb": ("image/png", lambda _: bomb(50_000, 50_000)),
    "a cut picture": ("image/png", lambda _: (EXAMPLES / "pictures" / "kite.png").read_bytes()[:2000]),
    "a cut film": ("video/mp4", truncated_film),
    "noise with a PNG's head": ("image/png", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9),
    "noise with a film's head": ("video/mp4", lambda _: pack(">I", 24) + b"ftypisom" + bytes(range(256)) * 9),
    "nothing": ("image/jpeg", lambda _: b""),
    "another format than it says": ("image/gif", lambda _: (EXAMPLES / "pictures" / "kite.png").read_bytes()),
    "no picture": ("application/json", lambda _: b"{}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_decoded_is_refused_in_words(tmp_path: Path, name: str) -> None:
    """Its own process ends; ours says what it said, in one short line."""
    content_type, write = HOSTILE[name]
    path = tmp_path / "hostile"
    path.write_bytes(write(tmp_path))
    with pytest.raises(Permanent) as refused:
        make(path, content_type)
    assert refused.value.code == "thumbnail_refused"
    assert 0 < len(refused.value.message) <= 200
    assert refused.value.message.isprintable()


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """By what its header declares, well below what would fill the memory."""
    path = tmp_path / "bomb"
    path.write_bytes(bomb(9_000, 9_000))
    with pytest.raises(Permanent, match="9000x9000 is more than 64 megapixels"):
        make(path, "image/png")


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Reading a pipe that nobody writes to never ends by itself."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(Permanent) as refused:
        ThumbnailMaker(64, deadline_seconds=0.2).make(path, "image/png")
    assert refused.value.code == "thumbnail_timeout"


def grown(film: bytes, at: int, extra: bytes) -> bytes:
    """Return the film with `extra` at this place, the boxes around it so much longer."""
    place = 0
    while place < at:
        (size,) = unpack(">I", film[place : place + 4])
        if place < at <= place + size:
            film = film[:place] + pack(">I", size + len(extra)) + film[place + 4 :]
            is_box_of_boxes = film[place + 4 : place + 8] in (b"moov", b"trak", b"mdia", b"minf", b"dinf")
            if not is_box_of_boxes:
                break
            place += 8
        else:
            place += size
    return film[:at] + extra + film[at:]


def elsewhere(film: bytes, path: str) -> bytes:
    """Return the film with its pictures said to be in another file, as old editors did (an alias)."""
    said = bytes(10) + pack(">B27s12xB63s16xhh16x", 3, b"vol", 5, b"other", 1, 1)
    for sort in (2, 18):
        said += pack(">hh", sort, len(path)) + path.encode() + b"\0" * (len(path) % 2)
    entry = pack(">I4sI", len(said) + 16, b"alis", 0) + said + pack(">hh", -1, 0)
    place = film.index(b"dref") + 12
    return grown(film[:place] + entry[:12] + film[place + 12 :], place + 12, entry[12:])


@pytest.mark.parametrize("is_asked_to", [False, True])
def test_a_film_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked_to: bool) -> None:
    """Its head may say that the pictures lie in another file, or behind an address: neither is opened, not even were
    the decoder's own switch for it on.
    """
    other = film(tmp_path / "other", [BLUE], form="mov")
    path = tmp_path / "film"
    path.write_bytes(elsewhere(other.read_bytes(), str(other)))
    with av.open(str(path), format="mov", options={"enable_drefs": "1"}) as container:
        assert next(container.decode(video=0)).width == 160, "it is a film for who opens the other file"
    if is_asked_to:
        worker = tmp_path / "worker.py"
        worker.write_text(WORKER.read_text().replace('"enable_drefs": "0"', '"enable_drefs": "1"'))
        monkeypatch.setattr("orchestrator.thumbnails.maker.WORKER", worker)
    with pytest.raises(Permanent, match="no frame of it can be decoded"):
        make(path, "video/quicktime")


def test_a_thumbnail_says_nothing_of_its_own(tmp_path: Path) -> None:
    """Comments of strangers are not handed on."""
    path = save(tmp_path, Image.new("RGB", (20, 10), BLUE), "JPEG", comment=b"<script>")
    assert b"<script>" in path.read_bytes()
    assert b"<script>" not in ThumbnailMaker(64, deadline_seconds=PATIENT).make(path, "image/jpeg").data


def test_a_stop_waits_for_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is ended, what waits for its turn is not begun, and what comes later neither."""
    started = tmp_path / "started"
    os.mkfifo(started)
    worker = tmp_path / "worker.py"
    worker.write_text("import signal, sys\nopen(sys.argv[1], 'w').close()\nsignal.pause()\n")
    monkeypatch.setattr("orchestrator.thumbnails.maker.WORKER", worker)
    maker = ThumbnailMaker(64, deadline_seconds=PATIENT)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(maker.make, started, "image/png") for _ in range(3)]
        started.read_bytes()  # one has begun
        maker.close()
        errors = [one.exception() for one in [*asked, pool.submit(maker.make, started, "image/png")]]
    assert [getattr(error, "code", error) for error in errors] == ["thumbnail_given_up"] * 4
    assert all(isinstance(error, Transient) for error in errors)


def test_a_terminal_speaks_to_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C goes to a whole group of processes: a clean stop must not spoil what is nearly done."""
    worker = tmp_path / "worker.py"
    worker.write_text("import os, sys\nsys.exit(str(os.getsid(0) == os.getpid()))\n")
    monkeypatch.setattr("orchestrator.thumbnails.maker.WORKER", worker)
    with pytest.raises(Permanent, match="True"):
        make(tmp_path / "any", "image/png")


def test_what_decodes_is_found_where_we_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own looks into no user's packages and at no PYTHONPATH; it is told where they are."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    assert make(save(tmp_path, Image.new("RGB", (20, 10), BLUE), "PNG"), "image/png").size == (20, 10)


def test_lower_limits_are_kept_and_memory_is_taken_from_it_first(tmp_path: Path) -> None:
    """Who runs us with less gets thumbnails too; where the host's memory runs out, the decoder goes first."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import resource, runpy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
        f"runpy.run_path({str(WORKER)!r})['_limit']()\n"
        "print(resource.getrlimit(resource.RLIMIT_FSIZE), open('/proc/self/oom_score_adj').read())\n"
    )
    said = subprocess.run([sys.executable, "-I", str(probe)], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["(524288,", "524288)", "999"]


def test_the_decoder_has_no_environment_and_little_memory(tmp_path: Path) -> None:
    """What strangers sent is decoded where no key stands, and where a gigabyte is the end."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import importlib.util, os, resource, sys\n"
        f"spec = importlib.util.spec_from_file_location('worker', {str(WORKER)!r})\n"
        "worker = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(worker)\n"
        "worker._limit()\n"
        "try:\n    bytearray(2 << 30)\nexcept MemoryError:\n    print('no memory')\n"
        "print([resource.getrlimit(resource.RLIMIT_FSIZE)[0], 'orchestrator' in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-I", str(probe)], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["no memory", f"[{1 << 20}, False]"]


def test_no_key_of_ours_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is given an empty environment, whatever ours holds."""
    monkeypatch.setenv("ORCHESTRATOR_ZAI_API_KEY", "id.canary")
    worker = tmp_path / "worker.py"
    worker.write_text("import os, sys\nsys.exit('a key' if 'ORCHESTRATOR_ZAI_API_KEY' in os.environ else 'none')\n")
    monkeypatch.setattr("orchestrator.thumbnails.maker.WORKER", worker)
    with pytest.raises(Permanent) as refused:
        make(tmp_path / "any", "image/png")
    assert refused.value.message == "none"


def test_what_comes_back_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that was taken over may answer anything: only a whole JPEG of the agreed size is taken."""
    worker = tmp_path / "worker.py"
    monkeypatch.setattr("orchestrator.thumbnails.maker.WORKER", worker)
    worker.write_text("print('<script>')\n")
    with pytest.raises(Permanent, match="no picture"):
        make(tmp_path / "any", "image/png")
    whole = EXAMPLES / "pictures" / "kite.png"
    worker.write_text(f"import sys\nsys.stdout.buffer.write(open({str(whole)!r}, 'rb').read())\n")
    with pytest.raises(Permanent, match="image/png"):
        make(tmp_path / "any", "image/png")


def test_each_output_has_one_place_for_its_thumbnail() -> None:
    """Beside it, by its own key; words and sounds have none."""
    assert thumbnail_key("a/0-image-1f.png") == "a/0-image-1f.png.thumb.jpg"
    assert thumbnail_key("a/0-video-1f.mp4") == "a/0-video-1f.mp4.poster.jpg"
    assert thumbnail_key("a/0-transcript-1f.txt") is None
    assert thumbnail_key("a/manifest.json") is None


def test_the_libraries_are_named_with_their_versions() -> None:
    """For `doctor`."""
    assert str(find_libraries()).startswith("Pillow ")


def test_a_fork_under_another_name_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow-SIMD and others bring the same module: that is no reason for a worker not to start."""

    def find(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("orchestrator.thumbnails.maker.metadata.version", find)
    assert "Pillow of another name" in str(find_libraries())
