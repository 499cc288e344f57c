"""Runs the command line in processes that are forked from one which has imported everything: importing is most of a
start, and hundreds of them are started here. Each is a process of its own, which may die as it likes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import boto3  # noqa: F401 - imported for those who are forked
import psycopg  # noqa: F401 - as boto3

from orchestrator import embedded  # noqa: F401 - as boto3
from orchestrator.cli.main import main
from orchestrator.storage.options import StoreOptions
from orchestrator.wiring import storing

SECONDS = 150.0
LEAST_PART_BYTES = 5 << 20  # S3 takes no shorter one but the last
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([__name__, "tests.crashes.senders"])


@dataclass(eq=False)
class Forked:
    """A command under way, or ended."""

    process: ForkServerProcess
    log: Path

    @property
    def said(self) -> str:
        """What it wrote so far, stdout and stderr together."""
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        """Return its exit code."""
        self.process.join(SECONDS)
        assert self.process.exitcode is not None, f"it did not end:\n{self.said}"
        return self.process.exitcode


@contextmanager
def forked(
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, is_in_parts: bool = False
) -> Iterator[Forked]:
    """Start a command in `folder`; what still runs at the end of the block is killed.

    `is_in_parts` sends every file to a bucket in parts, as ours does with files of more than a gigabyte.
    """
    log = folder / "forked.log"
    process = FORKING.Process(target=_run, args=(list(arguments), dict(environment), folder, log, is_in_parts))
    process.start()
    try:
        yield Forked(process, log)
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def _run(arguments: list[str], environment: dict[str, str], folder: Path, log: Path, is_in_parts: bool) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    _redirect(log)
    if is_in_parts:
        in_parts = partial(StoreOptions, multipart_threshold=0, part_bytes=LEAST_PART_BYTES)
        setattr(storing, "StoreOptions", in_parts)  # noqa: B010 - it stands in for a class, which types forbid
    main(arguments)


def _redirect(log: Path) -> None:
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.stdin = os.fdopen(0)
