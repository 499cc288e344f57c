"""Waiting for a job without holding a thread or a connection of the database meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from orchestrator.domain.errors import Transient
from orchestrator.domain.job import Job
from orchestrator.domain.states import ACTIVE

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 1.0


async def wait_for_end(request: Request, look: Callable[[], Job], seconds: float, *, known: Job | None = None) -> Job:
    """Return the job as soon as nothing of it moves by itself any more, or as it is after so long; a caller who has gone
    is waited for no longer.

    A caller who has just made the job (`known`) is told its id whatever happens: to a database that goes away meanwhile
    they would lose it, and ask for the job again.
    """

    def look_again() -> Job:
        try:
            return look()
        except Transient:
            if known is None:
                raise
            return known

    job = await run_in_threadpool(look_again)
    pause, deadline = FIRST_WAIT_SECONDS, anyio.current_time() + seconds
    while job.state in ACTIVE and (left := deadline - anyio.current_time()) > 0:
        await anyio.sleep(min(pause, left))
        if await request.is_disconnected():
            break
        pause = min(pause * 1.5, LONGEST_WAIT_SECONDS)
        job = await run_in_threadpool(look_again)
    return job
