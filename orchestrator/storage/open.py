"""Open an archive by its URL: `file:///directory`, a plain path, or `s3://bucket/prefix`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.ports import Store
from orchestrator.storage.local import LocalStore
from orchestrator.storage.options import StoreOptions

if TYPE_CHECKING:
    from orchestrator.storage.s3_bucket import Bucket

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
SETTING = "ARCHIVE_URL"


class StoreSet:
    """The archives of a process: the same URL gives the same store, with its connections and what was probed."""

    def __init__(self, options: StoreOptions | None = None) -> None:
        self._options = options or StoreOptions()
        self._stores: dict[str, Store] = {}
        self._buckets: dict[str, Bucket] = {}
        self._lock = Lock()

    def open(self, url: str) -> Store:
        """Return the archive at `url`. Raises ConfigError for a URL that is none. Opens no connection."""
        with self._lock:
            if url not in self._stores:
                self._stores[url] = _open(url, self._bucket)
            return self._stores[url]

    def _bucket(self, name: str) -> Bucket:
        """Return the one of this name: archives in the same bucket share its connections and what was probed."""
        from orchestrator.storage.s3_bucket import Bucket  # boto3 takes 0.3 s to load: not for a local directory

        return self._buckets.setdefault(name, Bucket(name, self._options))


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """Open one archive. Raises ConfigError for a URL that is none; whether it can be reached shows later."""
    return StoreSet(options).open(url)


def _open(url: str, find_bucket: Callable[[str], Bucket]) -> Store:
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "s3":
        return _open_s3(url, find_bucket)
    if scheme in ("", "file"):
        return LocalStore(url, _directory(url))
    raise ConfigError(SETTING, f"{url!r} is no archive; write file:///directory or s3://bucket/prefix")


def _directory(url: str) -> Path:
    if not url or "\x00" in url:
        raise ConfigError(SETTING, "a directory is needed")
    if "://" not in url:
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.startswith("/"):
        raise ConfigError(SETTING, f"{url!r}: a file URL has three slashes, an absolute path and nothing else")
    path = unquote(parts.path)
    if "\x00" in path:
        raise ConfigError(SETTING, f"{url!r} is no path")
    return Path(path)


def _open_s3(url: str, find_bucket: Callable[[str], Bucket]) -> Store:
    from orchestrator.storage.s3 import S3Store

    parts = urlsplit(url)
    if not BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise ConfigError(SETTING, f"{url!r}: write s3://bucket or s3://bucket/prefix, without credentials or a port")
    prefix = unquote(parts.path).strip("/")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")) and prefix:
        raise ConfigError(SETTING, f"{url!r}: the prefix has an empty or climbing part")
    return S3Store(url, find_bucket(parts.netloc), prefix)
