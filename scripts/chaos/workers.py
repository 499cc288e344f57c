"""The processes that are killed: each a real `orchestrator worker` or `run`, forked from a server that has imported
everything, since importing is most of a start and hundreds are started here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.crashes.forks import FORKING, Forked, forked

PRELOADED = ("__main__", "tests.crashes.forks", "celery.bin.worker", "kombu.transport.redis", "orchestrator.tasks")
FORKING.set_forkserver_preload(list(PRELOADED))


@dataclass
class Processes:
    """Commands under way, each in a folder of its own. Only these are ever signalled, by their ids."""

    environment: Mapping[str, str]
    folder: Path
    started: int = 0
    ended_by_themselves: int = 0
    _running: dict[Forked, ExitStack] = field(default_factory=dict)

    def start(self, arguments: Sequence[str]) -> Forked:
        """Start one more."""
        home = self.folder / f"process-{self.started:05}"
        home.mkdir()
        self.started += 1
        stack = ExitStack()
        process = stack.enter_context(forked(arguments, environment=self.environment, folder=home))
        self._running[process] = stack
        return process

    @property
    def running(self) -> list[Forked]:
        """Those that were started and not yet killed or buried."""
        return list(self._running)

    def kill(self, process: Forked) -> None:
        """End one as kill -9 does, and wait until it is gone."""
        self._running.pop(process).close()

    def bury_dead(self) -> int:
        """Forget those that have ended by themselves; return how many."""
        dead = [process for process in self._running if not process.process.is_alive()]
        for process in dead:
            self.kill(process)
        self.ended_by_themselves += len(dead)
        return len(dead)

    def close(self) -> None:
        """Kill what is left."""
        for process in self.running:
            self.kill(process)
