"""Many steps of real lanes in one process, with the memory that they leave behind: `python -m tests.simulation.soak`.

A step is one row that a lane claimed, performed and wrote. Memory is read after a full collection of garbage, first when
a twentieth of the steps is done (caches of statements and of SQLite's pages have filled up by then), then at the end.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
import tracemalloc
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.simulation.invariants import check_charges, check_jobs, check_provider
from tests.simulation.process import Process, Running
from tests.simulation.world import World, made_world

JOBS_A_FILE = 200
SLOTS = 50  # of each model, so that a round of claims and sweeps finds many rows
TURN = timedelta(seconds=20)
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Soaked:
    """How many rows were claimed, performed and written, in how many rounds of all lanes, and how much memory grew.

    `resident_bytes` is what the system says of the process; `traced_bytes` what Python's own allocations hold, 0 when
    they were not traced (tracing takes memory and half of the speed itself).
    """

    steps: int
    rounds: int
    jobs: int
    resident_bytes: int
    traced_bytes: int


@dataclass(frozen=True)
class Memory:
    """What the process holds once its garbage is collected."""

    resident: int
    traced: int

    @classmethod
    def read(cls) -> Memory:
        """Collect, then look."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), tracemalloc.get_traced_memory()[0])


def soak(steps: int, *, warm_up: int, jobs_a_file: int = JOBS_A_FILE) -> Soaked:
    """Run jobs to their ends, one file after the other, until so many steps are done."""
    with made_world(14, slots=SLOTS) as world:
        world.account.is_calm = True
        process = world.start_process()
        done = rounds = 0
        before: Memory | None = None
        while done < steps:
            if not rounds or is_idle(world):
                close_books(world, process)
                world.hand_in(jobs_a_file)
            done += sum(turn(process, running) for running in process.lanes)
            rounds += 1
            process.sweep()
            world.clock.advance(TURN)
            if before is None and done >= warm_up:
                before = Memory.read()
        after = Memory.read()
        assert before is not None
        jobs = len(world.files) * jobs_a_file
        return Soaked(done, rounds, jobs, after.resident - before.resident, after.traced - before.traced)


def close_books(world: World, process: Process) -> None:
    """Check what a file of jobs has led to, then let the harness forget it: it must not be what grows."""
    check_provider(world)
    world.charges_checked = 0
    check_charges(world)
    check_jobs(world)
    world.account.forget()
    process.line.forget()
    world.batches.clear()
    world.jobs.clear()


def turn(process: Process, running: Running) -> int:
    """Claim, perform and write what is due in one lane; return how many rows that were."""
    process.claim(running)
    count = len(running.claimed)
    while running.claimed:
        process.perform(running, 0)
    while running is process.submit and running.under_way:
        process.go_on(0)
    process.apply(running)
    return count


def is_idle(world: World) -> bool:
    """Say whether the newest file is done."""
    return world.app.batches.count_states(world.batches[-1]).by_state.get("succeeded", 0) == len(world.jobs)


def main() -> None:
    """Say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--traced", action="store_true", help="count Python's own allocations too; takes twice as long")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.traced:
        tracemalloc.start()
    began = time.monotonic()
    soaked = soak(given.steps, warm_up=given.steps // 20)
    sys.stdout.write(
        f"{soaked.steps} steps in {soaked.rounds} rounds, {soaked.jobs} jobs, {time.monotonic() - began:.0f} s: after a "
        f"twentieth of them memory grew by {soaked.resident_bytes / MEGABYTE:.1f} MB (resident)"
    )
    sys.stdout.write(f", {soaked.traced_bytes / MEGABYTE:.2f} MB (traced)\n" if given.traced else "\n")


if __name__ == "__main__":
    main()
