"""GET and HEAD of results, with ranges, and every way in which a link can betray its follower (surfaces.md section 6,
zai-api.md section 4.7).
"""

import re

from orchestrator.sandbox.answers import HTML_TYPE, strike
from orchestrator.sandbox.faults import ANSWER_FAULTS, LINK_FAULTS, REFUSALS, Meeting, Rule
from orchestrator.sandbox.links import Target, follow, is_alive
from orchestrator.sandbox.pictures_out import as_png, draw
from orchestrator.sandbox.studio import Media, Studio
from orchestrator.sandbox.wire import CHUNK, Call, Gone
from orchestrator.sandbox.world import World

HERE = frozenset((*REFUSALS, *ANSWER_FAULTS, *LINK_FAULTS))
NOWHERE = "http://127.0.0.1:9/"
XML_TYPE = "application/xml"
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"
DRIP_SECONDS = 1.0


async def serve_file(call: Call, world: World, studio: Studio) -> None:
    """Answers the file a link points to: 404 when there is none, 403 when the link has expired."""
    query, now = call.scope["query_string"].decode("latin-1"), world.clock.now()
    target = follow(world, call.path, query, now=now)
    if target is None:
        await _refuse(call, 404, "NoSuchKey")
    elif not is_alive(world, target, call.path, query, now=now):
        await _refuse(call, 403, "AccessDenied")
    else:
        meeting = Meeting("link", call.method, call.path, target.task.model)
        rule = world.meet(meeting, applicable=HERE)
        if rule is not None:
            await _strike_link(call, world, studio, target, rule)
        await _send(call, await studio.media(target))


async def _refuse(call: Call, status: int, code: str) -> None:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
    await call.answer(body, XML_TYPE, status)


async def _send(call: Call, media: Media) -> None:
    """The whole file, or the one range asked for."""
    headers = {"etag": media.etag, "accept-ranges": "bytes", "cache-control": "private, max-age=60"}
    size = len(media.data)
    span = _range(call, media, size)
    if span is None:
        await call.answer(media.data, media.content_type, 200, headers)
    elif span[0] >= span[1]:
        await call.answer(b"", media.content_type, 416, {**headers, "content-range": f"bytes */{size}"})
    else:
        part = media.data[span[0] : span[1]]
        headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
        if call.method == "HEAD":
            headers["content-length"] = str(len(part))
        await call.answer(part, media.content_type, 206, headers)


def _range(call: Call, media: Media, size: int) -> tuple[int, int] | None:
    """Begin and end of the range asked for; begin >= end when it cannot be satisfied; None for the whole file."""
    condition = call.request.headers.get("if-range")
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", call.request.headers.get("range", "").strip())
    if not found or not (found[1] or found[2]) or condition not in (None, media.etag):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)


async def _strike_link(call: Call, world: World, studio: Studio, target: Target, rule: Rule) -> None:
    """Lets a fault strike the download; returns only from a hang that ended."""
    if rule.fault == "dead_link":
        await _refuse(call, rule.status or 403, "AccessDenied" if rule.status in (None, 403) else "NoSuchKey")
    elif rule.fault == "redirect":
        await call.answer(b"", HTML_TYPE, rule.status or 302, {"location": rule.reason or NOWHERE + call.path[1:]})
    elif rule.fault == "html_body":
        await call.answer(PAGE, rule.reason or HTML_TYPE)
    elif rule.fault in LINK_FAULTS:
        await _spoil(call, world, await studio.media(target), rule)
    else:
        await strike(call, world, rule)
        return
    raise Gone


async def _spoil(call: Call, world: World, media: Media, rule: Rule) -> None:
    if rule.fault == "zero_bytes":
        await call.answer(b"", media.content_type)
    elif rule.fault == "wrong_type":
        await call.answer(_other_file(media), rule.reason or media.content_type)
    elif rule.fault == "truncated":
        await _truncate(call, media, rule)
    elif rule.fault == "drip":
        await _drip(call, world, media, rule)
    else:
        await _go_on_for_ever(call, media)


def _other_file(media: Media) -> bytes:
    """A sound file of another type than the one promised."""
    if media.content_type == "image/png":
        return b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    return as_png(draw(64, 64, key="wrong type"))


async def _truncate(call: Call, media: Media, rule: Rule) -> None:
    """Announces the whole length and closes early; with the reason `no_length` nothing is announced at all, so that
    only the file itself can tell that its end is missing.
    """
    part = media.data[: len(media.data) // 2 if rule.bytes is None else rule.bytes]
    length = b"" if rule.reason == "no_length" else b"Content-Length: %d\r\n" % len(media.data)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sConnection: close\r\n\r\n" % (media.content_type.encode(), length)
    await call.write_raw(head + (b"" if call.method == "HEAD" else part))


async def _drip(call: Call, world: World, media: Media, rule: Rule) -> None:
    """The whole file, a drop at a time."""
    await call.start(200, {"content-type": media.content_type, "content-length": str(len(media.data))})
    drop, pause = max(rule.bytes or 1, 1), DRIP_SECONDS if rule.seconds is None else rule.seconds
    for begin in range(0, len(media.data), drop):
        await call.more(media.data[begin : begin + drop])
        await call.unless_left(world.clock.wait_until(world.clock.now() + pause))
    await call.end()


async def _go_on_for_ever(call: Call, media: Media) -> None:
    """The file, then zeros until the other side has had enough."""
    await call.start(200, {"content-type": media.content_type})
    await call.more(media.data)
    while True:
        await call.more(bytes(CHUNK))
