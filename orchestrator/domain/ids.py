"""Prefixed, time-sortable identifiers: a word, an underscore, and the 32 hex digits of a UUIDv7 (design section 9)."""

from __future__ import annotations

from datetime import datetime
from random import Random
from uuid import UUID

JOB, BATCH, OUTPUT, EVENT, SUBMISSION = "job", "batch", "out", "evt", "sub"
ENDPOINT, DELIVERY = "we", "dlv"
AUDIT, FILE, REPEAT = "aud", "file", "idem"


def make_id(prefix: str, *, now: datetime, rng: Random) -> str:
    """Return `<prefix>_<uuid7 hex>`; ids made in later milliseconds sort after earlier ones."""
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = (milliseconds << 80) | (0x7 << 76) | (rng.getrandbits(12) << 64) | (0b10 << 62) | rng.getrandbits(62)
    return f"{prefix}_{UUID(int=value).hex}"


def first_id_at(prefix: str, moment: datetime) -> str:
    """Return what sorts before every id made at `moment` or later, and behind every one made in an earlier millisecond."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return f"{prefix}_{milliseconds:012x}"
