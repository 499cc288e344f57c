"""A process that polls and archives what is due, and that one job's question kills: `python -m tests.services.poisoned`.

Arguments: database URL, data directory, base URL and host:port of the provider, the poisoned task, a file that gets a
line before each death.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.config import load_settings
from orchestrator.domain.outcomes import CallEvidence
from orchestrator.domain.ports import PaidRequest, PollAnswer, PollQuestion, Provider, SubmitAnswer
from orchestrator.services.lanes.archive import ArchiveLane
from orchestrator.services.lanes.drain import Drain, Mailbox, Stop
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lanes.loop import LoopThread
from orchestrator.services.lanes.poll import PollLane
from orchestrator.services.lanes.sweep import replay_dead_journals
from orchestrator.wiring import open_app, open_lanes


class KilledByOne:
    """The real provider, but for one task whose question is the end of whoever asks it."""

    def __init__(self, real: Provider, task_id: str, deaths: Path) -> None:
        self._real, self._task_id, self._deaths = real, task_id, deaths
        self.kinds = real.kinds

    async def poll(self, question: PollQuestion) -> PollAnswer:
        if question.task_id == self._task_id:
            with self._deaths.open("a") as file:
                file.write("asked\n")
                file.flush()
                os.fsync(file.fileno())
            os.kill(os.getpid(), signal.SIGKILL)
        return await self._real.poll(question)

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        return await self._real.call(request, before_first_byte=before_first_byte)

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        return self._real.interpret(kind, evidence)

    async def close(self) -> None:
        await self._real.close()


def main(database_url: str, data_dir: str, base_url: str, host_port: str, task_id: str, deaths: str) -> None:
    """Take over from the dead, then run both lanes until nothing is due."""
    settings = load_settings(
        {
            "database_url": database_url,
            "data_dir": Path(data_dir),
            "zai_base_url": base_url,
            "zai_api_key": "id.secret",
            "egress_allow": host_port,
            "thumbnail_pixels": 0,
        }
    )
    with open_app(settings) as app, open_lanes(app, Mailboxes()) as opened:
        context = replace(opened, provider=KilledByOne(opened.provider, task_id, Path(deaths)))
        replay_dead_journals(context)
        loop = LoopThread()
        clock, mailbox, stop = context.clock, Mailbox(), Stop()
        Drain(PollLane(context), loop=loop, clock=clock, mailbox=mailbox, stop=stop).run()
        Drain(ArchiveLane(context), loop=loop, clock=clock, mailbox=mailbox, stop=stop).run()
        loop.submit(context.provider.close()).result()
        loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
