"""Whole files are recognised and measured; whatever is cut or damaged is refused, never accepted (design section 8)."""

from __future__ import annotations

import io

import pytest

from orchestrator.domain.media import Incomplete, MediaFacts, MediaRefused, Unrecognised, inspect, measure
from tests.media.samples import LOOSE_MAKERS, MAKERS, sample


def look_at(data: bytes) -> MediaFacts:
    return inspect(io.BytesIO(data), len(data))


def is_accepted(data: bytes) -> bool:
    try:
        look_at(data)
    except MediaRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "content_type", "extension", "codec"),
    [
        ("png", "image/png", "png", None),
        ("jpeg", "image/jpeg", "jpg", "baseline"),
        ("jpeg-progressive", "image/jpeg", "jpg", "progressive"),
        ("webp", "image/webp", "webp", None),
        ("webp-lossless", "image/webp", "webp", None),
        ("webp-animated", "image/webp", "webp", None),
        ("gif", "image/gif", "gif", None),
        ("gif-animated", "image/gif", "gif", None),
    ],
)
def test_a_whole_picture_is_measured(name: str, content_type: str, extension: str, codec: str | None) -> None:
    """Type by content, sides from the container."""
    facts = look_at(sample(name))
    assert facts == MediaFacts(content_type, extension, 12, 7, codec=codec)


@pytest.mark.parametrize(
    ("name", "content_type", "extension"),
    [
        ("mp4", "video/mp4", "mp4"),
        ("mp4-faststart", "video/mp4", "mp4"),
        ("mp4-long-sized", "video/mp4", "mp4"),
        ("mp4-open-ended", "video/mp4", "mp4"),
        ("mov", "video/quicktime", "mov"),
    ],
)
def test_a_whole_film_is_measured(name: str, content_type: str, extension: str) -> None:
    """Sides and codec from the sample description, duration from the movie header."""
    facts = look_at(sample(name))
    assert (facts.content_type, facts.extension, facts.codec) == (content_type, extension, "h264")
    assert (facts.width, facts.height) == (64, 48)
    assert facts.duration_seconds == pytest.approx(1.0, abs=0.1)
    assert facts.notes == ()


def test_a_whole_sound_is_measured() -> None:
    """H17 asks for the duration of wav and mp3 before the charge."""
    assert look_at(sample("wav")) == MediaFacts("audio/wav", "wav", duration_seconds=0.05, codec="pcm")
    mp3 = look_at(sample("mp3"))
    assert (mp3.content_type, mp3.extension, mp3.codec, mp3.notes) == ("audio/mpeg", "mp3", "mp3", ())
    assert mp3.duration_seconds == pytest.approx(8 * 576 / 16000, abs=0.08)


@pytest.mark.parametrize("name", MAKERS)
def test_no_cut_is_accepted(name: str) -> None:
    """E2: cut at every byte, a file is never taken for whole."""
    data = sample(name)
    assert is_accepted(data)
    assert [size for size in range(len(data)) if is_accepted(data[:size])] == []


def test_how_many_cuts_are_tried() -> None:
    """E2: the figure of docs/reliability.md: more than ten thousand, of every container that is archived."""
    kinds = {look_at(sample(name)).content_type for name in MAKERS}
    films = {"video/mp4", "video/quicktime"}
    assert kinds == films | {"image/png", "image/jpeg", "image/webp", "image/gif", "audio/wav", "audio/mpeg"}
    assert sum(len(sample(name)) for name in MAKERS) > 10_000


@pytest.mark.parametrize("name", LOOSE_MAKERS)
def test_a_format_without_totals_says_so(name: str) -> None:
    """E2: where a cut between two frames leaves a valid file, the facts of what is left admit it."""
    data = sample(name)
    for size in range(len(data)):
        if is_accepted(data[:size]):
            assert "end_not_proven" in look_at(data[:size]).notes


def test_a_stated_size_longer_than_the_stream_is_incomplete() -> None:
    """E1: the stream ends before the size that the caller believes in."""
    data = sample("png")
    with pytest.raises(Incomplete):
        inspect(io.BytesIO(data), len(data) + 100)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "wav"])
def test_bytes_after_the_end_are_noted(name: str) -> None:
    """A container that is whole stays whole with something behind it; the note says that there is something."""
    assert look_at(sample(name) + b"\0appended").notes == ("trailing_bytes",)


def test_every_flipped_byte_of_a_png_is_found() -> None:
    """E16: every chunk has a CRC, and the signature and lengths are checked by the walk."""
    data = sample("png")
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        assert not is_accepted(bytes(flipped)), position


def test_samples_outside_the_data_are_found() -> None:
    """E2: tables that point outside any `mdat` are those of a film that is not all here."""
    data = bytearray(sample("mp4-faststart"))
    at = data.index(b"stco") + 12
    data[at : at + 4] = (len(data) - 4).to_bytes(4, "big")
    with pytest.raises(Incomplete, match="not in this file's data"):
        look_at(bytes(data))


@pytest.mark.parametrize(("name", "box"), [("mp4", b"moov"), ("mp4", b"mdat"), ("mp4", b"stbl"), ("mp4", b"trak")])
def test_a_film_without_a_needed_box_is_incomplete(name: str, box: bytes) -> None:
    """E2: ftyp, moov, mdat, and tables in a track."""
    data = sample(name).replace(box, b"skip")
    with pytest.raises(Incomplete):
        look_at(data)


def test_a_refusal_says_where() -> None:
    """A reason, an offset and the type that the bytes resemble."""
    data = sample("mp4")
    with pytest.raises(Incomplete) as caught:
        look_at(data[:-1])
    assert caught.value.code == "media_incomplete"
    assert caught.value.content_type == "video/mp4"
    assert caught.value.offset == data.index(b"moov") - 4
    assert "beyond its container" in caught.value.reason


def test_junk_between_mp3_frames_is_skipped_and_noted() -> None:
    """Recordings are joined carelessly; decoders go on, so do we, and the duration stays that of the frames."""
    data = sample("mp3-without-total")
    frame = data.index(b"\xff\xf3", 100)
    whole, joined = look_at(data), look_at(data[:frame] + b"LAVCjunk" * 4 + data[frame:])
    assert joined.duration_seconds == whole.duration_seconds
    assert "junk_skipped" in joined.notes


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"APETAGEX" + bytes(40), bytes(1000)])
def test_tags_and_padding_after_an_mp3_are_no_damage(tag: bytes) -> None:
    assert look_at(sample("mp3") + tag).duration_seconds == look_at(sample("mp3")).duration_seconds


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_wav_written_to_a_pipe_is_measured(length: int) -> None:
    """Its writer could not go back: both sizes are placeholders and the data reaches to the end."""
    data = bytearray(sample("wav"))
    data[4:8] = data[40:44] = length.to_bytes(4, "little")
    facts = look_at(bytes(data))
    assert (facts.duration_seconds, facts.notes) == (0.05, ("end_not_proven",))


def test_a_wav_without_its_padding_byte_is_whole() -> None:
    data = b"RIFF" + (36 + 3).to_bytes(4, "little") + sample("wav")[8:40] + (3).to_bytes(4, "little") + b"abc"
    assert look_at(data).notes == ()


def test_inputs_are_measured() -> None:
    """H16, H17: the facts that a kind judges."""
    data = sample("jpeg")
    facts = measure(io.BytesIO(data), len(data))
    assert (facts.byte_count, facts.content_type, facts.width, facts.height) == (len(data), "image/jpeg", 12, 7)
    assert measure(io.BytesIO(b"nothing known"), 13).content_type is None
    with pytest.raises(Incomplete):
        measure(io.BytesIO(data[:-2]), len(data) - 2)


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"PK\x03\x04aaaa", b"%PDF-1.7", b"\x1f\x8b\x08" + bytes(20)])
def test_what_is_no_media_file_is_unrecognised(data: bytes) -> None:
    with pytest.raises(Unrecognised) as caught:
        look_at(data)
    assert caught.value.code == "media_unrecognised"


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1"])
def test_pictures_in_film_containers_are_unrecognised(brand: bytes) -> None:
    with pytest.raises(Unrecognised):
        look_at(bytes([0, 0, 0, 16]) + b"ftyp" + brand + bytes(4))


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"<!DOCTYPE html><html><body>502</body></html>", "text/html"),
        (b"\n\n  <html>", "text/html"),
        (b"<center>nginx</center>", "text/html"),
        (b"\xef\xbb\xbf<!doctype html>", "text/html"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="x">', "text/html"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "application/xml"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml"),
        (b"<?xml version='1.0'?><!-- x --><svg onload='alert(1)'/>", "image/svg+xml"),
        (b'{"error":{"code":"1301"}}', "application/json"),
        (b"\xef\xbb\xbf [1]", "application/json"),
        ("<svg/>".encode("utf-16"), "image/svg+xml"),
        (b"\xfe\xff" + "<html>".encode("utf-16-be"), "text/html"),
    ],
)
def test_documents_are_named_as_such(data: bytes, content_type: str) -> None:
    """E5, H16: an error page with status 200, or a picture that is a program."""
    with pytest.raises(Unrecognised) as caught:
        look_at(data)
    assert (caught.value.code, caught.value.content_type) == ("wrong_content_type", content_type)


@pytest.mark.parametrize("name", ["png", "gif", "jpeg"])
def test_a_polyglot_is_what_its_first_bytes_say(name: str) -> None:
    """H16: a script behind a picture does not make it a document, and does not hide."""
    facts = look_at(sample(name) + b"<script>alert(1)</script>")
    assert facts.content_type.startswith("image/")
    assert facts.notes == ("trailing_bytes",)
