"""Lease tokens: whoever knows one may write; nobody guesses one."""

from __future__ import annotations

from random import Random


def make_token(rng: Random) -> str:
    """Return 128 random bits as hex."""
    return f"{rng.getrandbits(128):032x}"
