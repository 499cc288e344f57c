"""From a frozen body to the bytes that travel: inputs put in and checked, nulls left out, our request id set.

Everything here happens before the client connects; whatever it raises was not sent (design section 7, step 1).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from orchestrator.domain.errors import Gone, InputLost, Permanent, StepError, Transient
from orchestrator.domain.kind import FrozenInput, input_key
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import PaidRequest
from orchestrator.zai.errors import clean
from orchestrator.zai.route import Encoding, InputForm, Route, ZaiKind

ReadInput = Callable[[str, str], Awaitable[bytes]]
"""(archive URL, key) -> the bytes kept there. Raises Gone when there are none, Transient and other
StepErrors when the store cannot be read."""

ENDINGS = {"audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mpeg": ".mp3"}
NOT_SENT = CallEvidence(Moment.NOT_SENT)


@dataclass(frozen=True)
class Prepared:
    """A paid request ready to go."""

    path: str
    content: bytes
    content_type: str


async def prepare(kind: ZaiKind, request: PaidRequest, *, read_input: ReadInput, deadline: timedelta) -> Prepared:
    """Return the request with its inputs' bytes in place. Raises InputLost, Transient and, for what no
    body can hold, Permanent; all `not_sent`.
    """
    with _refusing_what_cannot_be_sent():
        fields = _fields(kind, request)
        route = kind.route(fields)
        frozen = _frozen_inputs(fields)
    contents = await _read_all(frozen, request.archive_url, read_input=read_input, deadline=deadline)
    with _refusing_what_cannot_be_sent():
        if not contents:
            return _encode(route, fields, contents)
        return await asyncio.to_thread(_encode, route, fields, contents)  # megabytes of base64 stay off the loop


def _fields(kind: ZaiKind, request: PaidRequest) -> dict[str, object]:
    fields = {
        name: value
        for name, value in request.body.items()
        if value is not None and name not in kind.dropped_fields  # null means absent (zai-api.md 3.2)
    }
    fields.setdefault("model", request.model)
    fields["request_id"] = request.request_id
    return fields


@contextmanager
def _refusing_what_cannot_be_sent() -> Iterator[None]:
    """Intake lets no such body through; should one be here all the same, no library's exception comes out."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"the body cannot be sent as it is: {clean(str(error))}"
        raise Permanent(code="invalid_body", message=message, evidence=NOT_SENT) from error


async def _read_all(
    inputs: list[FrozenInput], archive_url: str, *, read_input: ReadInput, deadline: timedelta
) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            for frozen in inputs:
                if frozen.sha256 not in contents:
                    contents[frozen.sha256] = await _read_one(frozen, archive_url, read_input)
    except TimeoutError as error:
        message = f"the archive did not give the inputs within {deadline.total_seconds():g} s"
        raise Transient(code="input_unreadable", message=message, evidence=NOT_SENT) from error
    return contents


async def _read_one(frozen: FrozenInput, archive_url: str, read_input: ReadInput) -> bytes:
    try:
        data = await read_input(*(frozen.kept_at or (archive_url, input_key(frozen.sha256))))
    except Gone as error:
        message = f"the archive no longer holds the input {frozen.name!r} (SHA-256 {frozen.sha256[:12]}...)"
        raise InputLost(code="input_missing", message=message, evidence=NOT_SENT) from error
    except TimeoutError:
        raise
    except (StepError, OSError) as error:
        message = f"the input {frozen.name!r} could not be read from the archive: {clean(str(error))}"
        raise Transient(code="input_unreadable", message=message, evidence=NOT_SENT) from error
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    if digest != frozen.sha256:
        message = f"the archive's copy of the input {frozen.name!r} is not the file that was agreed to"
        raise InputLost(code="input_changed", message=message, evidence=NOT_SENT)
    return data


def _frozen_inputs(value: object) -> list[FrozenInput]:
    frozen = FrozenInput.from_json(value)
    if frozen is not None:
        return [frozen]
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in _frozen_inputs(item)]
    return [found for item in value for found in _frozen_inputs(item)] if isinstance(value, list | tuple) else []


def _encode(route: Route, fields: dict[str, object], contents: Mapping[str, bytes]) -> Prepared:
    if route.encoding is Encoding.MULTIPART:
        return _encode_multipart(route, fields, contents)
    body = {name: _filled_in(value, route.input_form, contents) for name, value in fields.items()}
    text = json.dumps(body, separators=(",", ":"), default=dict, allow_nan=False)
    return Prepared(route.path, text.encode(), "application/json; charset=UTF-8")


def _filled_in(value: object, form: InputForm, contents: Mapping[str, bytes]) -> object:
    frozen = FrozenInput.from_json(value)
    if frozen is not None:
        encoded = base64.b64encode(contents[frozen.sha256]).decode()
        return encoded if form is InputForm.BASE64 else f"data:{frozen.content_type};base64,{encoded}"
    if isinstance(value, Mapping):
        return {name: _filled_in(item, form, contents) for name, item in value.items()}
    return [_filled_in(item, form, contents) for item in value] if isinstance(value, list | tuple) else value


def _encode_multipart(route: Route, fields: dict[str, object], contents: Mapping[str, bytes]) -> Prepared:
    """Encode with the HTTP client's own multipart writer; lists as repeated `name[]` parts, which is how the official
    SDK writes a list of one (zai-api.md 5.1).
    """
    data: dict[str, str | list[str]] = {}
    files: list[tuple[str, tuple[str, bytes, str]]] = []
    for name, value in fields.items():
        frozen = FrozenInput.from_json(value)
        if frozen is not None:
            files.append((route.file_field, (_file_name(frozen), contents[frozen.sha256], frozen.content_type)))
        elif isinstance(value, list | tuple):
            data[f"{name}[]"] = [_form_text(item) for item in value]
        else:
            data[name] = _form_text(value)
    request = httpx.Request("POST", "http://multipart.invalid/", data=data, files=files or None)
    return Prepared(route.path, request.read(), request.headers["Content-Type"])


def _file_name(frozen: FrozenInput) -> str:
    """Return the name without the folders it came from, ending as its bytes say: servers go by the ending."""
    name = frozen.name.replace("\\", "/").rsplit("/", 1)[-1] or "input"
    ending = ENDINGS.get(frozen.content_type, "")
    return name if name.lower().endswith(ending) else name + ending


def _form_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=dict, allow_nan=False)
