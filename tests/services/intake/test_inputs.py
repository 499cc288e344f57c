"""Inputs are decoded strictly, sniffed and measured before anything is paid; links are judged by their spelling."""

from __future__ import annotations

import base64

import pytest

from orchestrator.domain.errors import InvalidParams
from orchestrator.services.intake import SingleRequest, check_one
from tests.services.intake.desk import KINDS, SANDBOX, Desk, codes, data_uri, image, png, talk, video, wav

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
VIDU = {"model": "viduq1-image", "prompt": "it climbs"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (data_uri(SVG, "image/svg+xml"), "unsupported_format"),
        (data_uri(SVG), "unsupported_format"),
        (data_uri(b'\xef\xbb\xbf<?xml version="1.0"?>' + SVG), "unsupported_format"),
        (data_uri(b"<html>" + png(), "image/png"), "unsupported_format"),
        (data_uri(png(), "text/html"), "unsupported_format"),
        (data_uri(png(), "audio/wav"), "unsupported_format"),
        (data_uri(wav()), "unsupported_format"),
        (data_uri(b"nothing that is known"), "unsupported_format"),
        (data_uri(png()[:-20]), "invalid_input"),
        (data_uri(b""), "invalid_input"),
        ("data:image/png;base64,####", "invalid_base64"),
        (data_uri(png())[:-1], "invalid_base64"),
        (data_uri(png()) + "\n", "invalid_base64"),
        (data_uri(png()).replace("A", "\u00c4", 1), "invalid_base64"),
        ("data:image/png,rawbytes", "invalid_base64"),
        ("data:,", "invalid_base64"),
        ("data:", "invalid_base64"),
        (base64.b64encode(SVG + b" " * 5000).decode(), "unsupported_format"),
    ],
)
def test_bytes_in_a_body_are_decoded_strictly_and_sniffed(desk: Desk, value: str, code: str) -> None:
    """H16: wrong base64, SVG under any name, polyglots, cut files and things of another kind are refused."""
    checked = desk.check([video("v", **VIDU, image_url=value)])
    assert [(fault.line, fault.code, fault.param) for fault in checked.faults] == [(1, code, "body.image_url")]
    assert len(checked.faults[0].message) < 300


@pytest.mark.parametrize("value", [data_uri(png()), data_uri(png()).upper()[:5] + data_uri(png())[5:]])
def test_a_good_picture_in_a_body_passes(desk: Desk, value: str) -> None:
    """H16: as a data: URI, whatever the case of its scheme."""
    assert desk.check([video("v", **VIDU, image_url=value)]).faults == ()


def test_bare_base64_is_told_from_a_path(desk: Desk) -> None:
    """zai-api.md 3.2: cogvideox takes base64 without a prefix; a JPEG's begins like an absolute path."""
    bare = base64.b64encode(png()).decode()
    assert desk.check([video("v", image_url=bare)]).faults == ()
    jpeg_like = "/9j/" + "A" * 60
    assert desk.check([video("v", image_url=jpeg_like)]).faults[0].code == "invalid_input"
    assert desk.check([video("v", image_url="/9j/picture")]).faults[0].code == "path_outside"


def test_fifty_megabytes_in_a_line_and_in_a_single_request(desk: Desk) -> None:
    """H16: a line has 1 MiB; a single request is capped before it is decoded."""
    huge = "data:image/png;base64," + "A" * (90 << 20)
    assert codes(desk.check([video("v", image_url=huge)]).faults) == [(1, None, "line_too_long", None)]
    with pytest.raises(InvalidParams) as caught:
        check_one(SingleRequest("video", {"prompt": "x", "image_url": huge}), KINDS, options=SANDBOX)
    assert [fault.code for fault in caught.value.faults] == ["input_too_large"]


@pytest.mark.parametrize(
    ("link", "is_good"),
    [
        ("https://example.com/a.png", True),
        ("http://example.com:8080/a.png?x=1&y=%20#z", True),
        ("HTTPS://EXAMPLE.COM/a.png", True),
        ("https://[2001:db8::1]/a.png", True),
        ("https://", False),
        ("https:///a.png", False),
        ("http://:80/a.png", False),
        ("https://user:password@example.com/a.png", False),
        ("https://example.com@evil.test/a.png", False),
        ("https://example.com:99999/a.png", False),
        ("https://example.com:port/a.png", False),
        ("https://example.com/a b.png", False),
        ("https://example.com/\r\nX: y", False),
        ("https://example.com\\@evil.test/", False),
        ("https://ex\u3002ample.com/a.png", False),
        ("https://[::1/a.png", False),
        ("https://exa mple.com/", False),
        ("https://example.com/" + "a" * 5000, False),
    ],
)
def test_links_are_judged_by_their_spelling(desk: Desk, link: str, is_good: bool) -> None:
    """H15: spelling only; nothing is fetched, and no host is looked up (sockets are off in these tests)."""
    faults = desk.check([video("v", image_url=link)]).faults
    assert [fault.code for fault in faults] == ([] if is_good else ["invalid_link"])


def test_a_link_where_a_file_belongs_is_refused(desk: Desk) -> None:
    """zai-api.md 5.1: recordings travel as files."""
    assert desk.check([talk(file="https://example.com/talk.wav")]).faults[0].code == "link_refused"


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("long.wav", wav(30.5), "input_too_long"),
        ("large.wav", wav(30, rate=450_000), "input_too_large"),
        ("picture.wav", png(), "unsupported_format"),
        ("text.wav", b"hello", "unsupported_format"),
        ("page.wav", b"<html></html>", "unsupported_format"),
        ("cut.wav", wav()[:-100], "invalid_input"),
        ("empty.wav", b"", "invalid_input"),
    ],
)
def test_a_recording_that_would_be_refused_is_refused_before_the_charge(
    desk: Desk, name: str, data: bytes, code: str
) -> None:
    """H17: over 30 s, over 25 MB, of another kind, cut short, empty."""
    desk.add(name, data)
    checked = desk.check([talk(file=name)])
    assert [(fault.code, fault.param) for fault in checked.faults] == [(code, "body.file")]


def test_thirty_seconds_to_the_frame_pass(desk: Desk) -> None:
    """H17: the limit itself is allowed."""
    desk.add("talk.wav", wav(30))
    assert desk.check([talk()]).faults == ()


def test_two_frames_are_judged_together(desk: Desk) -> None:
    """zai-api.md 3.2: the areas of first and last frame are within 0.8 and 1.25."""
    desk.add("first.png", png(200, 200))
    desk.add("last.png", png(100, 100))
    line = video("v", model="vidu2-start-end", image_url=["first.png", "last.png"])
    assert [(f.code, f.param) for f in desk.check([line]).faults] == [("invalid_frames", "body.image_url")]


def test_a_sparse_file_of_any_size_is_not_read(desk: Desk) -> None:
    """H14, H17: a terabyte costs nothing to refuse."""
    path = desk.add("huge.wav", b"")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert [fault.code for fault in desk.check([talk(file="huge.wav")]).faults] == ["input_too_large"]


def test_a_picture_kind_takes_no_files(desk: Desk) -> None:
    """A body field that looks like a path is no input unless the kind says so."""
    body = {"model": "glm-image", "prompt": "/etc/passwd"}
    assert desk.check([image("a", body=body)]).faults == ()
