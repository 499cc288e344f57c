"""The answers themselves: of a submission, of a fault, and the ones no client should trust (zai-api.md 3.4, 9)."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from orchestrator.sandbox.errors import CODES, Refusal
from orchestrator.sandbox.faults import REFUSALS, Rule
from orchestrator.sandbox.store import Task
from orchestrator.sandbox.wire import JSON_TYPE, Call, Gone
from orchestrator.sandbox.world import World

BAD_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
HTML_TYPE = "text/html"
UNTRUE_ID = "20260101000000" + "0123456789abcdef"


def submitted(task: Task, status: str) -> dict[str, Any]:
    """The four strings of section 3.4."""
    return {"id": task.id, "model": task.model, "request_id": task.request_id, "task_status": status}


def fail_in_call(task: Task) -> Refusal:
    """How a failed task ends a synchronous call."""
    code = task.reason if task.reason in CODES else "1230"
    return Refusal(code, None if code == task.reason else task.reason)


async def strike(call: Call, world: World, rule: Rule) -> None:
    """Lets a fault strike the whole call. Returns only from a hang that ended; the others answer, cut or raise."""
    if rule.fault == "hang":
        await call.hang(world.clock, rule.seconds)
        return
    if rule.fault == "reset":
        await call.reset()
    if rule.fault == "lost_answer":
        await call.cut()
    if rule.fault == "malformed_answer":
        await send_malformed(call, rule, {"id": UNTRUE_ID, "task_status": "PROCESSING"})
    if rule.fault == "bad_gateway":
        await call.answer(BAD_GATEWAY_PAGE, HTML_TYPE, rule.status or 502)
        raise Gone
    if rule.fault in REFUSALS:
        raise Refusal(rule.code or REFUSALS[rule.fault], rule.reason, status=rule.status, retry_after=rule.retry_after)


async def send_malformed(call: Call, rule: Rule, answer: Mapping[str, Any]) -> NoReturn:
    """Sends what is left of a good answer in the way `reason` names."""
    body = MALFORMED[rule.reason or "truncated"](dict(answer))
    content_type = HTML_TYPE if rule.reason == "html" else JSON_TYPE
    await call.answer(body, content_type, rule.status or 200)
    raise Gone


def _dumped(answer: object) -> bytes:
    return json.dumps(answer).encode()


def _with_id(value: object) -> Callable[[dict[str, Any]], bytes]:
    return lambda answer: _dumped({**answer, "id": value})


# Ways to spoil an answer, by the `reason` of a malformed_answer rule.
MALFORMED: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "truncated": lambda answer: _dumped(answer)[: len(_dumped(answer)) // 2],
    "html": lambda _: b"<!DOCTYPE html><html><body>It works!</body></html>",
    "text": lambda _: b"OK",
    "empty_body": lambda _: b"",
    "bom": lambda answer: b"\xef\xbb\xbf" + _dumped(answer),
    "not_utf8": lambda answer: json.dumps(answer).encode("utf-16"),
    "array": lambda answer: _dumped([answer]),
    "null": lambda _: b"null",
    "deep": lambda _: b"[" * 100_000,
    "no_id": lambda answer: _dumped({name: value for name, value in answer.items() if name != "id"}),
    "null_id": _with_id(None),
    "empty_id": _with_id(""),
    "number_id": _with_id(20260228232932),
    "object_id": _with_id({"value": UNTRUE_ID}),
    "huge_id": _with_id("7" * 4096),
    "constant_id": _with_id(UNTRUE_ID),
    "two_ids": lambda answer: b'{"id": "' + UNTRUE_ID.encode() + b'", ' + _dumped(answer)[1:],
}
