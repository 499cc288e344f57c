"""Where everything is kept: archive rights, broker, clocks, disk, spool. Each trouble is a finding."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.audit import Violation
from orchestrator.domain.errors import ConfigError, StepError
from orchestrator.domain.ports import Clock, Store
from orchestrator.domain.ports.audit import Audit
from orchestrator.services.doctor.archive import Archives
from orchestrator.services.doctor.look import Look, Seen
from orchestrator.services.lanes.sweep import SPOOL_AGE

LEAST_FREE = 1024**3  # below this the next film may not fit
CLOCK_TOLERANCE = timedelta(seconds=10)  # stores refuse signatures at 15 minutes; leases are a minute
PROBE_PREFIX = "doctor-"


@dataclass(frozen=True)
class Place:
    """This host's folders, the archive that new jobs go to, and how to ask the broker (None: there is none)."""

    clock: Clock
    archive_url: str
    data_dir: Path
    spool: Path
    thumbnails: str = ""
    """Whether any are made here, in words: that none are is no finding."""
    ask_broker: Callable[[], None] | None = None
    least_free_bytes: int = LEAST_FREE


def look_around(place: Place, archives: Archives) -> Seen:
    """Look at everything that is not the job table's."""
    yield from _try_archive(place, archives)
    yield from _try_broker(place)
    yield from _look_at_disk(place)
    yield from _look_at_spool(place)
    yield Look("thumbnails", place.thumbnails)


def look_at_clock(audit: Audit, clock: Clock) -> Seen:
    """Compare this host's time with the database server's: leases are counted in the latter."""
    before = clock.now()
    server = audit.server_time()
    if server is None:
        yield Look("clock", "the database is a file of this host: one clock")
        return
    apart = server - (before + (clock.now() - before) / 2)
    if abs(apart) > CLOCK_TOLERANCE:
        yield Violation("clock_differs", "clock", {"seconds": f"{apart.total_seconds():+.1f}"})
    yield Look("clock", f"the database server's is {apart.total_seconds():+.3f} s from this host's")


def _try_archive(place: Place, archives: Archives) -> Seen:
    """Write, read back and delete a small object: what the archive lane will have to do."""
    data = f"{archives.rng.getrandbits(128):032x}".encode()
    key = f"{PROBE_PREFIX}{data.decode()}.txt"
    try:
        store = archives.stores.open(place.archive_url)
        problem = _probe(store, key, data)
    except (StepError, ConfigError) as error:
        problem = str(error)
    if problem is None:
        yield Look("archive rights", f"{place.archive_url}: an object was written, read back and deleted")
    else:
        yield Violation("archive_unusable", place.archive_url, {"problem": problem})


def _probe(store: Store, key: str, data: bytes) -> str | None:
    store.put_bytes(key, data, content_type="text/plain")
    try:
        found = store.read_back(key)
    finally:
        store.delete(key)
    if (found.byte_count, found.sha256) != (len(data), hashlib.sha256(data).hexdigest()):
        return "what is written to it reads back differently"
    return "what is deleted from it stays" if store.find(key) is not None else None


def _try_broker(place: Place) -> Seen:
    if place.ask_broker is None:
        yield Look("broker", "none: everything runs in one process")
        return
    try:
        place.ask_broker()
    except (StepError, ConfigError) as error:
        yield Violation("broker_unreachable", "broker", {"problem": str(error)})
    else:
        yield Look("broker", "it answers")


def _look_at_disk(place: Place) -> Seen:
    """Journals, spool and perhaps database and archive lie there."""
    for name, folder in (("data directory", place.data_dir), ("spool", place.spool)):
        free = shutil.disk_usage(_existing(folder)).free
        facts = {"free": _size(free), "least": _size(place.least_free_bytes)}
        if free < place.least_free_bytes:
            yield Violation("disk_low", f"the {name} {folder}", facts)
        yield Look("disk", f"{_size(free)} free for the {name} {folder}")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"


def _look_at_spool(place: Place) -> Iterator[Violation]:
    """Every download that lives is younger: its deadline is an hour."""
    horizon = place.clock.now() - SPOOL_AGE
    for path in sorted(place.spool.iterdir()) if place.spool.is_dir() else ():
        try:
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:  # its download has ended meanwhile
            continue
        if changed < horizon:
            yield Violation("spool_stale", path.name, {"since": changed})
