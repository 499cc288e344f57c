"""Keeping paid answers on this disk before anything else sees them (design section 7, step 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from orchestrator.domain.errors import Transient
from orchestrator.domain.ports import Journal, JournalRecord

log = logging.getLogger(__name__)


class AnswerKeeper:
    """Writes to the journal off the loop. Answers that come while a write is under way share the next one, and its
    one sync.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = asyncio.Lock()
        self._gathering: list[JournalRecord] = []
        self._next: asyncio.Task[None] | None = None

    async def keep(self, record: JournalRecord) -> None:
        """Return once the record is on disk, or the disk has refused it: then alarm, for the commit is still to come.

        Whoever gives up waiting takes nothing from the others: the write goes on.
        """
        self._gathering.append(record)
        if self._next is None:
            self._next = asyncio.create_task(self._write_next())
        await asyncio.shield(self._next)

    async def _write_next(self) -> None:
        async with self._turn:
            records, self._gathering, self._next = self._gathering, [], None
            await asyncio.to_thread(self._write, records)

    def _write(self, records: Sequence[JournalRecord]) -> None:
        try:
            self._journal.append(*records)
        except Transient as error:
            for record in records:
                log.exception("journal_failed", extra={"submission_id": record.submission_id, "error": str(error)})
