"""What verifying found, mended where that costs nothing: papers from the rows, bytes from the answer or a fresh link.

Only bytes with the SHA-256 of the row are ever put in place, so the row stays true. Nothing is submitted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from orchestrator.domain.errors import Account, Conflict, Gone, NotFound, StepError
from orchestrator.domain.job import Job, Output, StoredFile
from orchestrator.domain.outcomes import OutputsReady
from orchestrator.domain.ports import PollQuestion, Store
from orchestrator.services.archive.manifest import make_manifest
from orchestrator.services.archive.outputs import object_metadata
from orchestrator.services.archive.thumbnails import make_anew
from orchestrator.services.archive.verify import Drift, JobDrift, Problem, hash_object
from orchestrator.services.lanes.context import LaneContext

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 4
LOST = "nobody can give it any more; only a copy of yours can"
REASON = "an audit of the archive did not find it as it was stored"
OBJECTS = frozenset({Problem.MISSING, Problem.SHORT, Problem.CHANGED})
PAPERS = frozenset({Problem.MANIFEST_MISSING, Problem.MANIFEST_DAMAGED, Problem.MANIFEST_DIFFERS})
THUMBNAILS = frozenset({Problem.THUMBNAIL_MISSING, Problem.THUMBNAIL_CHANGED})
BY_DEFAULT = frozenset({Problem.MISSING, Problem.MANIFEST_MISSING, Problem.MANIFEST_DAMAGED}) | THUMBNAILS
"""What is mended without being asked to: nothing that somebody may have put there is overwritten, but for thumbnails,
which nobody needs to keep.
"""


class _Unmendable(Exception):
    """Why something cannot be mended, in words."""


@dataclass
class Mender:
    """Who mends. `may_ask`: there is a key to ask the provider for fresh links with; `may_replace`: also what is there
    and wrong. Work on the loop of the context's clients.
    """

    context: LaneContext
    may_ask: bool
    may_replace: bool
    actor: str

    async def mend(self, found: Sequence[JobDrift]) -> list[Drift]:
        """Mend what can be mended; return every drift with what was done about it, or what can be."""
        room = asyncio.Semaphore(JOBS_AT_ONCE)

        async def one(each: JobDrift) -> list[Drift]:
            async with room:
                return await self._mend_job(each)

        return [drift for some in await asyncio.gather(*map(one, found)) for drift in some]

    async def _mend_job(self, found: JobDrift) -> list[Drift]:
        wanted = [drift for drift in found.drifts if drift.problem in BY_DEFAULT or self.may_replace]
        wanted = [drift for drift in wanted if drift.problem in OBJECTS | PAPERS | THUMBNAILS]
        left = [_advised(drift) for drift in found.drifts if drift not in wanted]
        if not wanted:
            return left
        try:
            return left + await self._mend_wanted(found.job.id, wanted)
        except (StepError, NotFound) as error:
            return left + [replace(drift, message=f"{drift.message}; not mended: {error}") for drift in wanted]

    async def _mend_wanted(self, job_id: str, wanted: Sequence[Drift]) -> list[Drift]:
        context, loop = self.context, asyncio.get_running_loop()
        filed = await loop.run_in_executor(context.storing, context.papers.load_filed, job_id)
        store = context.stores.open(filed.job.archive_url)
        objects = [drift for drift in wanted if drift.problem in OBJECTS and _is_still_so(drift, filed.job)]
        mended = await self._mend_objects(store, filed.job, objects)
        for drift in wanted:
            if drift.problem in PAPERS:
                papers = make_manifest(filed, written_at=context.clock.now(), tool_version=context.tool_version)
                put = partial(store.put_bytes, drift.key, papers, content_type="application/json")
                await loop.run_in_executor(context.storing, put)
                mended.append(
                    replace(drift, is_mended=True, message=f"{drift.message}; written anew from the job table")
                )
        for drift in wanted:
            if drift.problem in THUMBNAILS:
                mended.append(await loop.run_in_executor(context.storing, _mend_thumbnail, context, job_id, drift))
        return mended

    async def _mend_objects(self, store: Store, job: Job, drifts: Sequence[Drift]) -> list[Drift]:
        if not drifts:
            return []
        outputs = {output.id: output for output in job.outputs}
        links: dict[int, str] | None = None
        ended, restored = [], []
        for drift in drifts:
            output = outputs[str(drift.output_id)]
            try:
                if output.text is None and links is None:
                    links = await self._ask(job)
                await self._put_back(store, job, output, drift, links or {})
                restored.append(output.id)
                ended.append(replace(drift, is_mended=True, message=f"{drift.message}; put back, and read back"))
            except _Unmendable as error:
                ended.append(replace(drift, message=f"{drift.message}; {error}"))
            except StepError as error:
                ended.append(replace(drift, message=f"{drift.message}; not mended: {error}"))
        if restored:
            note = partial(self.context.papers.note_refetched, job.id, restored, actor=self.actor, reason=REASON)
            await asyncio.get_running_loop().run_in_executor(self.context.storing, note)
        return ended

    async def _ask(self, job: Job) -> dict[int, str]:
        """Return fresh links by the outputs' index. Raises _Unmendable, StepErrors of the question."""
        kind = self.context.provider.kinds.get(job.kind)
        if job.provider_task_id is None or kind is None or not kind.gives_task(job.model):
            raise _Unmendable(f"the provider has no task to ask about; {LOST}")
        if not self.may_ask:
            raise _Unmendable("the provider is not asked without its key")
        try:
            answer = await self.context.provider.poll(PollQuestion(job.kind, job.model, job.provider_task_id))
        except Gone as error:
            raise _Unmendable(f"the provider does not know its task any more ({error}); {LOST}") from error
        except Account:
            self.may_ask = False  # the same answer would come each time
            raise
        if not isinstance(answer, OutputsReady):
            raise _Unmendable(f"the provider's answer names no outputs any more; {LOST}")
        return {draft.index: draft.url for draft in answer.outputs if draft.url is not None}

    async def _put_back(self, store: Store, job: Job, output: Output, drift: Drift, links: dict[int, str]) -> None:
        context, loop, file = self.context, asyncio.get_running_loop(), output.stored
        assert file is not None
        spool = context.spool / f"{output.id}.verify.part"
        try:
            sha256 = await self._bring(output, links, spool)
            if sha256 != file.sha256:
                raise _Unmendable(f"what the provider gives now is another file (SHA-256 {sha256}); {LOST}")
            await loop.run_in_executor(context.storing, _store, context, store, job, output, spool)
        finally:
            await asyncio.to_thread(spool.unlink, missing_ok=True)
        log.warning("object_restored", extra={"job_id": job.id, "output_id": output.id, "key": file.key})

    async def _bring(self, output: Output, links: dict[int, str], spool: Path) -> str:
        """Put the bytes into the spool and return their SHA-256."""
        limits = self.context.limits
        if output.text is not None:
            text = output.text.encode()
            await asyncio.to_thread(_write, spool, text)
            return hashlib.sha256(text).hexdigest()
        if output.index not in links:
            raise _Unmendable(f"the provider's answer does not name it any more; {LOST}")
        try:
            fetched = await self.context.fetch.fetch(
                links[output.index], spool, max_bytes=limits.output_max_bytes, deadline=limits.fetch_deadline
            )
        except Gone as error:
            raise _Unmendable(f"the provider's link is dead ({error}); {LOST}") from error
        return fetched.sha256


def advise(found: Sequence[JobDrift]) -> list[Drift]:
    """Return every drift with what can be done about it, where nothing is to be mended."""
    return [_advised(drift) for each in found for drift in each.drifts]


def _advised(drift: Drift) -> Drift:
    match drift.problem:
        case Problem.MISSING | Problem.MANIFEST_MISSING | Problem.MANIFEST_DAMAGED:
            advice = "without --no-mend it is put back where that can be done"
        case Problem.THUMBNAIL_MISSING | Problem.THUMBNAIL_CHANGED:
            advice = "without --no-mend it is made anew of its output"
        case Problem.SHORT | Problem.CHANGED | Problem.MANIFEST_DIFFERS:
            advice = "--replace puts the right one in its place where that can be done"
        case _:
            advice = "see to the store, then verify again"
    return replace(drift, message=f"{drift.message}; {advice}")


def _is_still_so(drift: Drift, job: Job) -> bool:
    """Somebody may have deleted or changed the output since its row was read."""
    return any(output.id == drift.output_id and output.kept == drift.file for output in job.outputs)


def _mend_thumbnail(context: LaneContext, job_id: str, drift: Drift) -> Drift:
    """After its output, and after papers that are written from the row: it changes both."""
    if context.thumbnails is None:
        advice = "no thumbnails are made here: orchestrator doctor says why; its output has nothing to do with it"
        return replace(drift, message=f"{drift.message}; {advice}")
    try:
        make_anew(context, job_id, str(drift.output_id))
    except (StepError, Conflict) as error:
        return replace(drift, message=f"{drift.message}; not made anew: {error}")
    return replace(drift, is_mended=True, message=f"{drift.message}; made anew of its output")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _store(context: LaneContext, store: Store, job: Job, output: Output, spool: Path) -> None:
    file: StoredFile | None = output.stored
    assert file is not None
    store.put_file(
        file.key,
        spool,
        sha256=file.sha256,
        content_type=file.content_type,
        metadata=object_metadata(context, job, output, file),
        remember_upload=lambda upload_id: None,  # its row says archived; the sweep of stale uploads ends a dead one
    )
    if hash_object(store, file.key) != (file.byte_count, file.sha256):
        raise _Unmendable("the store does not hold what was put back")
