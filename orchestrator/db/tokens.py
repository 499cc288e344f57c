"""Lease tokens: whoever knows one may write; nobody guesses one."""

from __future__ import annotations

from random import Random


def make_token(rng: Random, process: str = "") -> str:
    """Return 128 random bits as hex, behind the name of the process that holds the lease when it has one."""
    return f"{token_prefix(process)}{rng.getrandbits(128):032x}" if process else f"{rng.getrandbits(128):032x}"


def token_prefix(process: str) -> str:
    """Return what every token of a process begins with."""
    return f"{process}:"
