"""The job table rebuilt from the archive alone: every manifest becomes a finished job. Nothing becomes due or is paid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from orchestrator.domain.errors import Conflict, StepError
from orchestrator.domain.ports import Store
from orchestrator.domain.ports.papers import Paper, Papers
from orchestrator.services.archive.manifest import MANIFEST_KEY, MOST_BYTES, DamagedManifest, read_manifest

log = logging.getLogger(__name__)

PAPERS_AT_ONCE = 100
"""Manifests of one transaction: half of them lost costs little to do again, and memory stays small."""
READS_AT_ONCE = 16
Tell = Callable[[str], None]


@dataclass
class Report:
    """What was made of the archive. `damaged`: why a manifest was left out, by its key."""

    made_count: int = 0
    known_count: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    unknown_parent_count: int = 0


def reindex(
    papers: Papers, store: Store, *, may_merge: bool, actor: str, tell: Tell, at_once: int = PAPERS_AT_ONCE
) -> Report:
    """Make a finished job of every manifest in the archive whose job is not here yet.

    Raises Conflict when there are jobs and `may_merge` is False; StepError when the archive cannot be listed or the
    database cannot be reached. What is damaged is reported and left out.
    """
    if not may_merge and (count := papers.count_jobs()):
        message = f"the job table has {count} jobs already"
        hint = "an empty one is rebuilt; --merge adds the jobs that it lacks and leaves those that it has as they are"
        raise Conflict(message, hint=hint)
    report = Report()
    waiting: dict[tuple[str, str], str] = {}
    keys = (key for key in store.list_keys("") if MANIFEST_KEY.fullmatch(key))
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="reindex") as pool:
        while some := list(islice(keys, at_once)):
            read = pool.map(lambda key: _read(store, key), some)
            rebuilt = papers.rebuild(list(_sort_out(read, report)), archive_url=store.url, actor=actor)
            report.made_count += len(rebuilt.made)
            report.known_count += len(rebuilt.known)
            waiting |= rebuilt.waiting
            for key, why in rebuilt.refused.items():
                _note(report, key, why)
            tell(f"{report.made_count} jobs rebuilt, {report.known_count} known, {len(report.damaged)} left out")
    report.unknown_parent_count = papers.link_parents(waiting)
    return report


def _sort_out(read: Iterator[Paper | tuple[str, str]], report: Report) -> Iterator[Paper]:
    for each in read:
        if isinstance(each, Paper):
            yield each
        else:
            _note(report, *each)


def _note(report: Report, key: str, why: str) -> None:
    report.damaged[key] = why
    log.warning("manifest_unusable", extra={"key": key, "error": why})


def _read(store: Store, key: str) -> Paper | tuple[str, str]:
    """Return the paper at `key`, or the key with why there is none."""
    try:
        return Paper(key, read_manifest(read_document(store, key), key))
    except (DamagedManifest, StepError) as error:
        return key, str(error)


def read_document(store: Store, key: str) -> bytes:
    """Return a small document whole. Raises DamagedManifest for one that is far too long, StepErrors of the store."""
    data = bytearray()
    for chunk in store.read_chunks(key):
        data += chunk
        if len(data) > MOST_BYTES:
            raise DamagedManifest(f"longer than {MOST_BYTES} bytes")
    return bytes(data)
