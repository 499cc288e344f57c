"""The archive, and the way to foreign links."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectFacts:
    """What a store says of an object. `sha256` is None when the store has not verified one itself."""

    key: str
    byte_count: int
    sha256: str | None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """An object store or a directory. Keys are relative to the archive URL's prefix. All calls block.

    Raises Transient (later), Permanent (configuration: missing bucket, refused credentials), Gone (no such key).
    """

    @property
    def url(self) -> str:
        """The archive URL it was opened with."""

    @property
    def has_public_links(self) -> bool:
        """True when others than us can be expected to reach what `sign_url` returns."""

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str],
        remember_upload: Callable[[str], None],
    ) -> None:
        """Store a file whole under `key` or not at all. `remember_upload` gets a multipart upload's id before its
        first part is sent.
        """

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store a small document whole, replacing what was there."""

    def read_back(self, key: str) -> ObjectFacts:
        """Read the object from the store and return its length and SHA-256 as found there."""

    def find(self, key: str) -> ObjectFacts | None:
        """Return what the store says of `key`, None when there is none. Reads no content."""

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content; StepErrors come out of the iterator too."""

    def delete(self, key: str) -> None:
        """Remove an object; absent is fine."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below `prefix`."""

    def sign_url(self, key: str, *, expires: timedelta, file_name: str | None = None) -> str:
        """Return a link that works for a while (a file:// path for a directory)."""

    def abort_stale_uploads(self, *, before: datetime) -> int:
        """Abort multipart uploads (or leftover temporary files) begun before `before`; return how many."""


class Stores(Protocol):
    """Opens archives by URL; the same URL gives the same store."""

    def open(self, url: str) -> Store:
        """Raises ConfigError for a URL that is no archive."""


@dataclass(frozen=True)
class Fetched:
    """A result link's answer, written whole to the spool."""

    byte_count: int
    sha256: str
    content_type: str | None


class Fetch(Protocol):
    """Gets foreign URLs through the egress guard."""

    async def fetch(self, url: str, into: Path, *, max_bytes: int, deadline: timedelta) -> Fetched:
        """Write the body to `into`. Raises Gone (403, 404, 410), Permanent (the guard refuses; over the cap; not a
        media type: code names it) or Transient.
        """
