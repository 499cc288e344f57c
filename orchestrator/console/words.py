"""How values read on a page: times, sizes, money, states. Filters of the templates; text in, text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape

from orchestrator.domain.redact import redact_links, redact_secrets
from orchestrator.services.batches import show_micros

STATES = {
    "queued": "queued",
    "submitting": "submitting",
    "processing": "processing",
    "archiving": "archiving",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "needs_review": "held",
    "taking_in": "taking in",
    "running": "running",
    "finished": "finished",
}
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def state(value: object) -> str:
    """Return a state as people call it."""
    return STATES.get(str(value), str(value))


def moment(value: object) -> datetime | None:
    """Return the time that an object of the API spells, or that a value is."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else None


def span(value: timedelta) -> str:
    """Return a length of time in its largest unit."""
    seconds = max(int(value.total_seconds()), 0)
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def when(value: object, now: datetime) -> str:
    """Return a `time` element that reads as an age; the exact time is its title."""
    at = moment(value)
    if at is None:
        return "-"
    words = f"{span(now - at)} ago" if at <= now else f"in {span(at - now)}"
    return _element(at, words)


def clock(value: object) -> str:
    """Return a `time` element that reads as a date and time in UTC."""
    at = moment(value)
    return "-" if at is None else _element(at, f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}")


def size(count: object) -> str:
    """Return a number of bytes for eyes."""
    amount = float(count) if isinstance(count, int) else 0.0
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def micros(value: object) -> str:
    """Return money in micro-units as an amount."""
    return show_micros(value) if isinstance(value, int) else "-"


def cost(value: Mapping[str, object]) -> str:
    """Return the cost of a job: what it was, or what it is thought to be."""
    if value.get("charge") == "unknown":
        return "unknown"
    if value["final"] is not None:
        return f"{value['final']} {value['currency'] or ''}".strip()
    return f"~{value['estimate']} {value['currency']}" if value["estimate"] is not None else "-"


def pretty(value: object) -> str:
    """Return JSON for eyes, with nothing in it that opens a file or signs a message."""
    return safe(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def safe(value: object) -> str:
    """Return evidence of the other side without the queries of links and without secrets."""
    return redact_secrets(redact_links(str(value)))


class Html(str):
    """Text that is HTML already; templates leave it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _element(at: datetime, words: str) -> Html:
    exact = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Html(f'<time datetime="{exact}" title="{exact.replace("T", " ")}">{escape(words)}</time>')


FILTERS: Mapping[str, Callable[..., object]] = {
    "state": state,
    "when": when,
    "clock": clock,
    "size": size,
    "micros": micros,
    "cost": cost,
    "pretty": pretty,
    "safe_text": safe,
    "span": span,
}
