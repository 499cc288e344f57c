"""POST /audio/transcriptions: multipart in, JSON or a stream of events out (zai-api.md section 5.1)."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from orchestrator.sandbox.catalog import Model, transcription_price
from orchestrator.sandbox.checks import find_model, flag, identifiers, text
from orchestrator.sandbox.errors import Refusal, invalid, missing
from orchestrator.sandbox.hearing import Heard, hear
from orchestrator.sandbox.store import Task
from orchestrator.sandbox.studio import Studio
from orchestrator.sandbox.submissions import (
    check_caller,
    count_post,
    deliver,
    is_empty,
    strike_answer,
    taken,
    wait_in_call,
)
from orchestrator.sandbox.wire import MOST_BODY_BYTES, Call, Gone
from orchestrator.sandbox.world import Order, World

MOST_AUDIO_BYTES = 25 * 1024 * 1024
MOST_AUDIO_SECONDS = 30.0
PADDING_SECONDS = 0.1  # mp3 counts in frames and adds some
MOST_HOTWORDS = 100
BASE64_ROOM = MOST_AUDIO_BYTES * 4 // 3 + 1024
MULTIPART = "multipart/form-data"


async def transcribe(call: Call, world: World, studio: Studio) -> None:
    """Checks the recording, charges it, and answers what was said in it."""
    fields, audio = await _read(call, world)
    model = _transcriber(fields)
    stream = flag(fields, "stream", default=False)
    request_id = identifiers(fields)
    heard = await studio.run(lambda: _heard(audio))
    order = Order(
        kind="transcription",
        route="sync",
        model=model.name,
        price=transcription_price(heard.seconds),
        prompt=text(fields, "prompt") or "",
        request_id=request_id,
    )
    async with taken(call, world, order) as (task, rule):
        await wait_in_call(call, world, task)
        words = "" if is_empty(rule) else heard.text
        answer = _head(task) | {"request_id": task.request_id, "text": words}
        if stream:
            await strike_answer(call, world, answer, rule)
            await _stream(call, world, task, words)
        else:
            await deliver(call, world, task, answer, rule)


async def _read(call: Call, world: World) -> tuple[dict[str, Any], bytes]:
    """The fields and the sound; `file` wins over `file_base64`."""
    if not call.request.headers.get("content-type", "").startswith(MULTIPART):
        check_caller(call, world)
        raise Refusal("1210", f"The body must be {MULTIPART}.")
    if int(call.request.headers.get("content-length") or 0) > MOST_BODY_BYTES:
        raise Refusal("1210", "The file is larger than 100 MB.", status=435)
    try:
        async with call.request.form(max_part_size=BASE64_ROOM) as form:
            fields = _fields(form)
            count_post(world, fields.get("request_id"))
            check_caller(call, world)
            _check_hotwords(form)
            upload = form.get("file")
            data = await upload.read(MOST_AUDIO_BYTES + 1) if isinstance(upload, UploadFile) else None
    except MultiPartException as error:
        raise Refusal("1210", f"The multipart body cannot be read: {error.message}") from error
    if data is None:
        data = _from_base64(fields.get("file_base64"))
    if len(data) > MOST_AUDIO_BYTES:
        raise invalid("file", "at most 25 MB are allowed.")
    return fields, data


def _fields(form: FormData) -> dict[str, Any]:
    """The text parts; the words true and false of `stream` become what they mean."""
    fields: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str) and value != ""}
    if (stream := str(fields.get("stream", "false")).lower()) in ("true", "false"):
        fields["stream"] = stream == "true"
    return fields


def _check_hotwords(form: FormData) -> None:
    """Repeated `hotwords`, repeated `hotwords[]`, or one JSON list; too many are refused."""
    values: list[object] = [*form.getlist("hotwords"), *form.getlist("hotwords[]")]
    if len(values) == 1 and isinstance(values[0], str) and values[0].startswith("["):
        try:
            values = list(json.loads(values[0]))
        except ValueError as error:
            raise invalid("hotwords", "a list is needed.") from error
    if len(values) > MOST_HOTWORDS:
        raise invalid("hotwords", f"at most {MOST_HOTWORDS} are allowed.")


def _from_base64(value: object) -> bytes:
    if not isinstance(value, str):
        raise missing("file")
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("file_base64", "it cannot be decoded.") from error


def _transcriber(fields: dict[str, Any]) -> Model:
    model = find_model(fields, Model)
    if model.kind != "transcription":
        raise Refusal("1212")
    return model


def _heard(audio: bytes) -> Heard:
    heard = hear(audio, most_seconds=MOST_AUDIO_SECONDS + PADDING_SECONDS)
    if heard is None:
        raise invalid("file", "it is neither wav nor mp3.")
    if heard.seconds > MOST_AUDIO_SECONDS + PADDING_SECONDS:
        raise invalid("file", "the audio must be 0-30 seconds long.")
    return heard


def _head(task: Task) -> dict[str, Any]:
    return {"id": task.id, "created": int(task.finish_at), "model": task.model}


async def _stream(call: Call, world: World, task: Task, words: str) -> None:
    """Server-sent events: deltas, then one done with the whole text, then [DONE]."""
    await call.start(200, {"content-type": "text/event-stream; charset=UTF-8", "cache-control": "no-cache"})
    try:
        for event in _events(task, words):
            await call.more(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
        await call.more(b"data: [DONE]\n\n")
    except Gone:
        return
    if await call.end():
        world.store.mark_answered(task.id)


def _events(task: Task, words: str) -> Iterator[dict[str, Any]]:
    head = _head(task)
    for piece in re.findall(r"\S+\s*", words):
        yield {**head, "type": "transcript.text.delta", "delta": piece}
    yield {**head, "type": "transcript.text.done", "delta": "", "text": words}
