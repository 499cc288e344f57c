"""A fleet as an operator runs one: PostgreSQL, a broker, worker processes - and a hand that breaks each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.db.migrate import upgrade
from orchestrator.sandbox import RunningSandbox
from tests.acceptance.runs import COMMAND, SECONDS, Desk, Ended
from tests.fixtures.brokers import Valkey
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.processes import die_with_parent, stop


@dataclass
class Worker:
    """One `orchestrator worker` and what it logged."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """Everything on its stderr so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(SECONDS)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@dataclass
class Fleet:
    """One database and data directory of a test's own, on servers that may be shared."""

    desk: Desk
    server: PostgresServer
    broker_url: str
    database: str
    settings: Mapping[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What workers and commands are started with."""
        return self.desk.environment(
            ORCHESTRATOR_DATABASE_URL=self.server.url(self.database),
            ORCHESTRATOR_BROKER_URL=self.broker_url,
            ORCHESTRATOR_LOG_LEVEL="info",
            **self.settings,
        )

    def start_worker(self, *options: str) -> Worker:
        """Start a worker and return once it takes messages."""
        log = self.desk.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*COMMAND, "worker", *options], env=self.environment, cwd=self.desk.folder, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=sink, preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - only prctl
            )  # fmt: skip
        worker = Worker(process, log)
        self.workers.append(worker)
        self.wait_until(lambda: "serves" in worker.said or process.poll() is not None)
        assert process.poll() is None, worker.said
        return worker

    def hand_over(self, lines: Sequence[Mapping[str, object]]) -> subprocess.Popen[str]:
        """Start `orchestrator run FILE --broker`."""
        path = self.desk.write_jobs(lines)
        return subprocess.Popen(
            [*COMMAND, "run", str(path), "--broker"], env=self.environment, cwd=self.desk.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def command(self, *arguments: str) -> Ended:
        """Run a command to its end in a process of its own."""
        ended = subprocess.run(
            [*COMMAND, *arguments], env=self.environment, cwd=self.desk.folder, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=SECONDS, check=False,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into the database."""
        host = self.server.home / "socket"
        with psycopg.connect(host=str(host), user="orchestrator", dbname=self.database) as connection:
            return connection.execute(statement.encode()).fetchall()

    def states(self) -> Counter[str]:
        """Return how many jobs are in each state."""
        return Counter(dict(self.query("SELECT state, count(*) FROM jobs GROUP BY state")))

    def charges_per_job(self) -> Counter[str]:
        """Return how often each job was charged, by the submission ids that the provider saw."""
        jobs = dict(self.query("SELECT id, job_id FROM submissions"))
        return Counter(jobs[row["request_id"]] for row in self.desk.ledger())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Look again and again until the condition holds."""
        give_up_at = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < give_up_at, "\n".join(worker.said[-3000:] for worker in self.workers)
            time.sleep(0.02)

    def close(self) -> None:
        """End every worker that is still there."""
        for worker in self.workers:
            stop(worker.process, signal.SIGKILL)


@contextmanager
def running_fleet(
    folder: Path, sandbox: RunningSandbox, server: PostgresServer, broker_url: str, **settings: str
) -> Iterator[Fleet]:
    """Give a fleet without workers on a fresh database; end what it started."""
    database = f"fleet_{os.getpid()}_{time.monotonic_ns()}"
    server.execute(f"CREATE DATABASE {database}")
    upgrade(server.url(database))
    fleet = Fleet(Desk(folder, sandbox), server, broker_url, database, settings)
    try:
        yield fleet
    finally:
        fleet.close()


@dataclass
class Servers:
    """What a fleet needs around it."""

    postgres: PostgresServer
    valkey: Valkey
