"""Readers that walk a picture, sound or film to its end: is it whole, and what is it (design section 8).

Pure: they read a seekable stream that somebody else opened, in bounded memory and bounded time, and change nothing.
"""

from __future__ import annotations

from orchestrator.domain.media.facts import Incomplete, MediaFacts, MediaRefused, Unrecognised
from orchestrator.domain.media.inspect import inspect, measure
from orchestrator.domain.media.sniff import Sniffed, sniff
from orchestrator.domain.media.suspects import SUSPECT_CODES, is_suspect

__all__ = [
    "SUSPECT_CODES",
    "Incomplete",
    "MediaFacts",
    "MediaRefused",
    "Sniffed",
    "Unrecognised",
    "inspect",
    "is_suspect",
    "measure",
    "sniff",
]
