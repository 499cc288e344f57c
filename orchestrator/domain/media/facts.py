"""What inspecting a file can say: facts, or one of two refusals."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.errors import Permanent
from orchestrator.domain.media.suspects import MEDIA_INCOMPLETE, MEDIA_UNRECOGNISED

TRAILING_BYTES = "trailing_bytes"
"""Note: something follows the container's own end. Players ignore it; it may be a provider's mark."""
END_NOT_PROVEN = "end_not_proven"
"""Note: the format (or this writer) leaves no total to compare with; a cut between two frames would not show."""
FRAGMENTED = "fragmented"
"""Note: an MP4 in fragments; its duration is what the header says, often nothing."""
JUNK_SKIPPED = "junk_skipped"
"""Note: bytes between two MP3 frames belong to neither."""


@dataclass(frozen=True)
class MediaFacts:
    """A whole file. Sides in pixels, duration in seconds, `extension` without a dot; None where not applicable.

    There are facts only for a container that was walked to its end; `notes` says what was odd on the way.
    """

    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    codec: str | None = None
    notes: tuple[str, ...] = ()


class MediaRefused(Permanent):
    """These bytes are not a whole media file. `offset` is where it showed; `content_type` what they resemble."""

    def __init__(self, code: str, reason: str, *, offset: int, content_type: str | None = None) -> None:
        super().__init__(code, f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset
        self.content_type = content_type


class Incomplete(MediaRefused):
    """A container we know that ends too early, points outside itself or fails its own checksum (E1, E2, E16)."""

    def __init__(self, reason: str, *, offset: int, content_type: str | None = None) -> None:
        super().__init__(MEDIA_INCOMPLETE, reason, offset=offset, content_type=content_type)


class Unrecognised(MediaRefused):
    """No container we know; `code` is `wrong_content_type` when it is plainly a document (E5)."""

    def __init__(
        self, reason: str, *, offset: int = 0, content_type: str | None = None, code: str = MEDIA_UNRECOGNISED
    ) -> None:
        super().__init__(code, reason, offset=offset, content_type=content_type)
