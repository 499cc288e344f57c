"""A frozen body becomes the bytes that travel: inputs checked by SHA-256 and put in, before any connection (design 7)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes

import pytest

from orchestrator.domain.errors import Gone, InputLost, Permanent, StepError, Transient, Uncertain
from orchestrator.domain.kind import FrozenInput
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import PaidRequest, PollQuestion
from orchestrator.zai.encode import Prepared, ReadInput, prepare
from orchestrator.zai.kinds import load_kinds
from tests.zai.loopback import REQUEST_ID, FirstByte, hang, make_provider, peer

ARCHIVE = "file:///archive"
PICTURE = b"\x89PNG picture bytes"
SOUND = b"RIFF sound bytes"


def freeze(data: bytes, content_type: str, name: str) -> dict[str, object]:
    """What stands in a frozen body for these bytes."""
    return FrozenInput(hashlib.sha256(data).hexdigest(), len(data), content_type, name).as_json()


class Archive:
    """An archive of inputs that counts its readers."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = {hashlib.sha256(data).hexdigest(): data for data in contents}
        self.reads: list[tuple[str, str]] = []

    async def read(self, archive_url: str, key: str) -> bytes:
        """Give the bytes."""
        self.reads.append((archive_url, key))
        return self.contents[key.removeprefix("inputs/")]


def run_prepare(
    kind: str, body: dict[str, object], read_input: ReadInput | None = None, *, model: str = "m"
) -> Prepared:
    """Encode one request."""
    request = PaidRequest(REQUEST_ID, kind, str(body.get("model", model)), body, ARCHIVE)
    reader = read_input or Archive(PICTURE, SOUND).read
    return asyncio.run(prepare(load_kinds()[kind], request, read_input=reader, deadline=timedelta(seconds=5)))


def test_a_picture_travels_as_a_data_uri_wherever_it_stands() -> None:
    """3.2: one string or a list; a link stays a link; the same picture is read once."""
    archive = Archive(PICTURE)
    frozen = freeze(PICTURE, "image/png", "kite.png")
    body: dict[str, object] = {"model": "vidu2-reference", "image_url": [frozen, "https://h/x.png", frozen]}
    ready = run_prepare("video", body, archive.read)
    uri = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert json.loads(ready.content)["image_url"] == [uri, "https://h/x.png", uri]
    assert archive.reads == [(ARCHIVE, f"inputs/{hashlib.sha256(PICTURE).hexdigest()}")]
    single = run_prepare("video", {"model": "vidu2-image", "image_url": frozen})
    assert json.loads(single.content)["image_url"] == uri


def test_nulls_stay_at_home_and_the_request_id_is_ours() -> None:
    """3.2: null means absent. A body without a model gets the job's."""
    ready = run_prepare("image", {"prompt": "漢字 🎬", "size": None, "request_id": "theirs"})
    assert json.loads(ready.content) == {"prompt": "漢字 🎬", "model": "m", "request_id": REQUEST_ID}
    assert (ready.path, ready.content_type) == ("/images/generations", "application/json; charset=UTF-8")


def test_glm_image_takes_the_asynchronous_route() -> None:
    """2.4: the kind picks the route from the model, also when only the job names it."""
    assert run_prepare("image", {"model": "glm-image", "prompt": "x"}).path == "/async/images/generations"
    assert run_prepare("image", {"prompt": "x"}, model="glm-image").path == "/async/images/generations"


@pytest.mark.parametrize(
    ("name", "content_type", "sent_as"),
    [
        ("talk.wav", "audio/wav", "talk.wav"),
        ("TALK.WAV", "audio/wav", "TALK.WAV"),
        ("inline", "audio/mpeg", "inline.mp3"),
        ("../../talk", "audio/wav", "talk.wav"),
        ("", "audio/wav", "input.wav"),
        ('quo"te\r\n.mp3', "audio/mpeg", "quo%22te%0D%0A.mp3"),
        ("talk.bin", "application/octet-stream", "talk.bin"),
    ],
)
def test_a_file_name_ends_as_its_bytes_say(name: str, content_type: str, sent_as: str) -> None:
    """Servers go by the ending; base64 text has none, and no name breaks out of its header."""
    ready = run_prepare("transcription", {"file": freeze(SOUND, content_type, name)})
    assert [part[1] for part in parts_of(ready) if part[0] == "file"] == [sent_as]


def parts_of(ready: Prepared) -> list[tuple[str, str | None, bytes]]:
    """(field, file name, content) of each part."""
    message = message_from_bytes(f"Content-Type: {ready.content_type}\r\n\r\n".encode() + ready.content)
    found = []
    for part in message.get_payload():
        assert not isinstance(part, str)
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((str(name), part.get_filename(), payload))
    return found


@pytest.mark.parametrize("field", ["file", "file_base64"])
def test_a_recording_travels_as_a_file_part(field: str) -> None:
    """5.1: multipart; the list as repeated parts; no path of ours in the file name; stream is ours to leave out."""
    body: dict[str, object] = {
        "model": "glm-asr-2512",
        field: freeze(SOUND, "audio/wav", "C:\\home\\someone/talk.wav"),
        "hotwords": ["kite", "漢字"],
        "prompt": "so far",
        "stream": False,
        "odd": {"a": 1},
        "flag": True,
        "user_id": None,
    }
    ready = run_prepare("transcription", body)
    assert ready.path == "/audio/transcriptions"
    assert sorted(parts_of(ready)) == sorted(
        [
            ("file", "talk.wav", SOUND),
            ("flag", None, b"true"),
            ("hotwords[]", None, b"kite"),
            ("hotwords[]", None, "漢字".encode()),
            ("model", None, b"glm-asr-2512"),
            ("odd", None, b'{"a": 1}'),
            ("prompt", None, b"so far"),
            ("request_id", None, REQUEST_ID.encode()),
        ]
    )


async def gone(archive_url: str, key: str) -> bytes:
    raise Gone(code="no_such_key", message="no such key")


async def changed(archive_url: str, key: str) -> bytes:
    return b"other bytes"


async def store_is_down(archive_url: str, key: str) -> bytes:
    raise Transient(code="http_503", message="SlowDown")


async def store_refuses(archive_url: str, key: str) -> bytes:
    raise Permanent(code="access_denied", message="credentials")


async def disk_fails(archive_url: str, key: str) -> bytes:
    raise OSError(5, "Input/output error")


async def never(archive_url: str, key: str) -> bytes:
    await asyncio.Event().wait()
    return b""


@pytest.mark.parametrize(
    ("read_input", "wanted", "code"),
    [
        (gone, InputLost, "input_missing"),
        (changed, InputLost, "input_changed"),
        (store_is_down, Transient, "input_unreadable"),
        (store_refuses, Transient, "input_unreadable"),
        (disk_fails, Transient, "input_unreadable"),
        (never, Transient, "input_unreadable"),
    ],
)
def test_an_input_that_cannot_be_put_in_stops_the_call_before_it_connects(
    read_input: ReadInput, wanted: type[StepError], code: str
) -> None:
    """Missing and changed are final; a store that cannot be read is not: later it may."""
    first_byte = FirstByte()
    body = {"model": "vidu2-image", "image_url": freeze(PICTURE, "image/png", "kite.png")}

    async def run() -> tuple[StepError, int]:
        async with peer(hang) as one:
            provider = make_provider(one.url, read_input=read_input, input_deadline=timedelta(seconds=0.2))
            request = PaidRequest(REQUEST_ID, "video", "vidu2-image", body, ARCHIVE)
            with pytest.raises(StepError) as caught:
                await provider.call(request, before_first_byte=first_byte)
            await provider.close()
        return caught.value, one.connections

    error, connections = asyncio.run(run())
    assert (type(error), error.code) == (wanted, code)
    assert error.evidence == CallEvidence(Moment.NOT_SENT)
    assert (connections, first_byte.count) == (0, 0)


def deep() -> dict[str, object]:
    """Nested without end."""
    found: dict[str, object] = {}
    for _ in range(100_000):
        found = {"x": found}
    return found


@pytest.mark.parametrize("make", [lambda: float("nan"), lambda: {1, 2}, deep])
@pytest.mark.parametrize("kind", ["image", "transcription"])
def test_a_body_that_nothing_can_hold_is_refused_unsent(kind: str, make: Callable[[], object]) -> None:
    """Intake refuses these; should one get here, no exception of a library comes out."""
    with pytest.raises(Permanent) as caught:
        run_prepare(kind, {"model": "glm-image", "odd": make()})
    assert caught.value.evidence == CallEvidence(Moment.NOT_SENT)


def test_an_unknown_kind_is_refused_unsent() -> None:
    """A job of a kind that an older or newer release knew: never a KeyError, never sent, never failed by a poll."""

    async def run() -> None:
        provider = make_provider("http://127.0.0.1:9/")
        request = PaidRequest(REQUEST_ID, "hologram", "m", {}, ARCHIVE)
        with pytest.raises(Transient, match="hologram"):
            await provider.call(request, before_first_byte=FirstByte())
        with pytest.raises(Transient, match="hologram"):
            await provider.poll(PollQuestion("hologram", "m", "t"))
        with pytest.raises(Uncertain, match="hologram"):
            provider.interpret("hologram", CallEvidence(Moment.ANSWERED, http_status=200, body="{}"))
        await provider.close()

    asyncio.run(run())
