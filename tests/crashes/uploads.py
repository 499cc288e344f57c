"""Processes that are killed while they send a file in parts, and the one sweep that clears up behind all of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from orchestrator.storage import StoreOptions, StoreSet, s3_upload
from orchestrator.storage.spool import FilePart
from tests.crashes.forks import FORKING
from tests.fixtures.strict_s3 import StrictS3

PART_BYTES = 4096
PARTS = 8
SECONDS = 60.0
URL = "s3://strict/films"


@dataclass(frozen=True)
class Kills:
    """What a series of kills left behind, and what one sweep left of that."""

    killed: int
    left_open: int
    swept: int
    open_afterwards: int
    visible: int


def kill_uploads(server: StrictS3, folder: Path, count: int, *, tell: Callable[[int], None] = lambda _: None) -> Kills:
    """Kill `count` processes, each once the server holds so many parts of its upload (0 to all but one), then sweep once."""
    film = folder / "film.part"
    film.write_bytes(os.urandom(PARTS * PART_BYTES))
    killed = 0
    for number in range(count):
        killed += _kill_one(server, film, number, parts=number % PARTS)
        tell(number + 1)
    left_open = len(server.uploads)
    swept = StoreSet(_options(server.address.endpoint_url)).open(URL).abort_stale_uploads(before=_tomorrow())
    return Kills(killed, left_open, swept, len(server.uploads), len(server.objects))


def _kill_one(server: StrictS3, film: Path, number: int, *, parts: int) -> bool:
    """Start a process that stops by itself after `parts` parts, wait for them, kill it; True when it was killed."""
    before = server.upload_count
    address = server.address
    arguments = (address.endpoint_url, address.access_key_id, address.secret_access_key, film, f"{number}.mp4", parts)
    process = FORKING.Process(target=_send, args=arguments)
    process.start()
    give_up_at = time.monotonic() + SECONDS
    while not _has_come_so_far(server, before, parts):
        assert process.is_alive() and time.monotonic() < give_up_at, f"upload {number} did not come so far"  # noqa: PT018 - one condition
        process.join(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(SECONDS)
    return process.exitcode == -signal.SIGKILL


def _has_come_so_far(server: StrictS3, before: int, parts: int) -> bool:
    upload = server.uploads.get(f"upload-{before + 1}")
    return upload is not None and len(upload.parts) >= parts


def _send(endpoint: str, key_id: str, secret: str, film: Path, key: str, parts: int) -> None:
    """Send a film; after so many parts wait to be killed."""
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = key_id, secret
    sent = 0

    def wait_when_sent() -> None:
        nonlocal sent
        sent += 1
        if sent > parts:
            signal.pause()

    store = StoreSet(_options(endpoint)).open(URL)
    _before_each_part(wait_when_sent)
    store.put_file(key, film, sha256="0" * 64, content_type="video/mp4", metadata={}, remember_upload=lambda _: None)


def _before_each_part(run: Callable[[], None]) -> None:
    def part(source: BinaryIO, start: int, size: int) -> FilePart:
        run()
        return FilePart(source, start, size)

    setattr(s3_upload, "FilePart", part)  # noqa: B010 - it stands in for a class, which types forbid


def _options(endpoint: str) -> StoreOptions:
    return StoreOptions(endpoint_url=endpoint, region="us-east-1", multipart_threshold=0, part_bytes=PART_BYTES)


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)
