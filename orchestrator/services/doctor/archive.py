"""The archive against the job table: every object there, whole, with its papers, and nothing that nobody knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from random import Random

from orchestrator.domain.audit import Violation
from orchestrator.domain.errors import ConfigError, Gone, StepError
from orchestrator.domain.job import StoredFile
from orchestrator.domain.ports import Store, Stores
from orchestrator.domain.ports.audit import ArchivedJob, Audit
from orchestrator.domain.thumbnails import thumbnail_key
from orchestrator.services.archive.manifest import manifest_beside
from orchestrator.services.doctor.look import Look, Seen

HEADS_AT_ONCE = 16  # half of the store's connections: an examination must not stand in the archive lane's way
JOBS_AT_ONCE = 200
LISTED_KEYS = 20_000
"""Keys that are looked through for orphans, newest days first, unless all are asked for."""


@dataclass(frozen=True)
class Archives:
    """The archives and how closely to look. `verified` is the share of objects that are read and hashed, 0 to 1."""

    stores: Stores
    rng: Random
    now: Callable[[], datetime]
    verified: float = 0.0
    listed_keys: int | None = LISTED_KEYS


class _Unusable(Exception):
    """An archive that does not answer; its other objects are not asked for."""

    def __init__(self, url: str, error: Exception) -> None:
        super().__init__(str(error))
        self.url = url


def compare_archives(archives: Archives, audit: Audit) -> Seen:
    """Compare every archived output with its object, every manifest with its job, and every key with the table."""
    unusable: dict[str, str] = {}
    yield from _compare_objects(archives, audit, unusable)
    for url in audit.list_archive_urls():
        if url not in unusable:
            try:
                yield from _find_orphans(archives, _open(archives, url), audit)
            except _Unusable as error:
                unusable[url] = str(error)
    for url, problem in unusable.items():
        yield Violation("archive_unusable", url, {"problem": problem})


def _compare_objects(archives: Archives, audit: Audit, unusable: dict[str, str]) -> Seen:
    jobs = audit.iter_archived()
    objects = hashed = 0
    with ThreadPoolExecutor(HEADS_AT_ONCE, thread_name_prefix="doctor") as pool:
        while some := list(islice(jobs, JOBS_AT_ONCE)):
            asked = [job for job in some if job.archive_url not in unusable]
            chosen = {file.key for job in asked for file in job.files.values() if _is_chosen(archives)}
            objects, hashed = objects + sum(len(job.files) for job in asked), hashed + len(chosen)
            for found in pool.map(lambda job: _compare_job(archives, job, chosen), asked):  # noqa: B023 - ends here
                if isinstance(found, _Unusable):
                    unusable[found.url] = str(found)
                else:
                    yield from found
    yield Look("archive", f"{objects} objects were asked for, {hashed} of them read and hashed")


def _is_chosen(archives: Archives) -> bool:
    return archives.rng.random() < archives.verified


def _compare_job(archives: Archives, job: ArchivedJob, chosen: set[str]) -> list[Violation] | _Unusable:
    try:
        store = _open(archives, job.archive_url)
        found = [v for output, file in job.files.items() for v in _compare_file(store, job, output, file, chosen)]
        return [*found, *(_compare_manifest(store, job) if job.is_succeeded else ())]
    except _Unusable as error:
        return error
    except StepError as error:
        return _Unusable(job.archive_url, error)


def _open(archives: Archives, url: str) -> Store:
    try:
        return archives.stores.open(url)
    except (StepError, ConfigError) as error:
        raise _Unusable(url, error) from error


def _compare_file(
    store: Store, job: ArchivedJob, output_id: str, file: StoredFile, chosen: set[str]
) -> Iterator[Violation]:
    facts: dict[str, object] = {"job": job.id, "key": file.key, "bytes": file.byte_count}
    found = store.find(file.key)
    if found is None:
        yield Violation("object_missing", output_id, facts)
    elif found.byte_count != file.byte_count:
        yield Violation("object_length", output_id, facts | {"found": found.byte_count})
    elif found.sha256 not in (None, file.sha256):
        yield Violation("object_differs", output_id, facts | {"found": found.sha256})
    elif file.key in chosen and (sha256 := _hash(store, file.key)) != file.sha256:
        yield Violation("object_differs", output_id, facts | {"found": sha256})


def _hash(store: Store, key: str) -> str:
    """Read it here: a store's own word for what it holds is what is being doubted."""
    digest = hashlib.sha256()
    for chunk in store.read_chunks(key):
        digest.update(chunk)
    return digest.hexdigest()


def _compare_manifest(store: Store, job: ArchivedJob) -> Iterator[Violation]:
    key = manifest_beside(next(iter(job.files.values())).key)
    try:
        value = json.loads(b"".join(store.read_chunks(key)))
        listed = {row["id"]: (row["key"], row["bytes"], row["sha256"]) for row in value["outputs"] if "key" in row}
        named = value["job"]["id"]
    except Gone:
        yield Violation("manifest_missing", job.id)
        return
    except (ValueError, KeyError, TypeError):
        yield Violation("manifest_differs", job.id, {"what": "it cannot be read"})
        return
    expected = {name: (file.key, file.byte_count, file.sha256) for name, file in job.files.items()}
    differing = sorted(name for name, facts in expected.items() if listed.get(name) != facts)
    if named != job.id or differing:
        what = ", ".join(differing) or f"it is of {named}"
        yield Violation("manifest_differs", job.id, {"what": what})


def _find_orphans(archives: Archives, store: Store, audit: Audit) -> Seen:
    """List before asking the table: an object's row comes after it, so what the table lacks then was there first."""
    keys = _list_keys(archives, store, audit.find_oldest_job())
    count = 0
    while some := list(islice(keys, JOBS_AT_ONCE)):
        count += len(some)
        known = audit.find_archived({_job_of(key) for key in some})
        yield from _judge_keys(some, known)
    is_whole = archives.listed_keys is None or count < archives.listed_keys
    yield Look("orphans", f"{count} keys were looked up{'' if is_whole else ', the newest; --all looks at every one'}")


def _judge_keys(keys: list[str], known: Mapping[str, frozenset[str] | None]) -> Iterator[Violation]:
    unknown = sorted({_job_of(key) for key in keys if _job_of(key) not in known})
    for job_id in unknown:
        yield Violation("folder_orphaned", job_id)
    for key in keys:
        archived = known.get(_job_of(key))
        if archived is None or key in archived or key == manifest_beside(key):
            continue
        if key not in map(thumbnail_key, archived):  # also one of which the row does not say that it is there
            yield Violation("object_orphaned", key, {"job": _job_of(key)})


def _list_keys(archives: Archives, store: Store, oldest: datetime | None) -> Iterator[str]:
    """Yield the keys below the days since the first job, newest day first, up to the bound."""
    today = archives.now().date()
    left = archives.listed_keys
    for day in _days_back(today, oldest.date() if oldest else today):
        try:
            for key in store.list_keys(f"{day:%Y/%m/%d}/"):
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield key
        except StepError as error:
            raise _Unusable(store.url, error) from error


def _days_back(last: date, first: date) -> Iterator[date]:
    while last >= first:
        yield last
        last -= timedelta(days=1)


def _job_of(key: str) -> str:
    """`<yyyy>/<mm>/<dd>/<job id>/...` (services.archive.manifest)."""
    return key.split("/")[3]
