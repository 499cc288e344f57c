"""What a look at one thing brings: a sentence that it was looked at, and violations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.audit import Violation


@dataclass(frozen=True)
class Look:
    """One thing that was looked at, and how it stands; no finding by itself."""

    name: str
    words: str


Seen = Iterator[Look | Violation]
