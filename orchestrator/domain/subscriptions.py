"""Which events an endpoint hears: by name, or by pattern as in `job.*` (surfaces section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from orchestrator.domain.errors import RequestError

EVENT_TYPES = (
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.needs_review",
    "job.at_risk",
    "batch.finished",
    "webhook_endpoint.disabled",
    "webhook.test",
)
FAMILIES = tuple(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in EVENT_TYPES))


def parse_subscription(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns, each once, in the order given. Raises RequestError that names the nearest known one."""
    found = tuple(dict.fromkeys(pattern.strip() for pattern in patterns if pattern.strip()))
    if not found:
        raise RequestError("an endpoint needs at least one event type", param="events", hint="job.* hears all of jobs")
    for pattern in found:
        _check_pattern(pattern)
    return found


def is_subscribed(patterns: Iterable[str], event_type: str) -> bool:
    """Return True when one of the patterns is the type or its family."""
    family = f"{event_type.partition('.')[0]}.*"
    return any(pattern in (event_type, family) for pattern in patterns)


def _check_pattern(pattern: str) -> None:
    known = (*EVENT_TYPES, *FAMILIES)
    if pattern in known:
        return
    near = get_close_matches(pattern, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"those are {', '.join(known)}"
    raise RequestError(f"{pattern[:60]!r} is no event type", param="events", hint=hint)
