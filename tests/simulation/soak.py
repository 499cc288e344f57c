"""Many steps of real lanes in one process, with the memory that they leave behind: `python -m tests.simulation.soak`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.simulation.process import Process, Running
from tests.simulation.world import World, made_world

JOBS_A_FILE = 20
TURN = timedelta(seconds=20)
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Soaked:
    """How many rows were claimed, performed and written, and how much memory grew after the first part of them."""

    steps: int
    grown_bytes: int


def soak(steps: int, *, warm_up: int) -> Soaked:
    """Run jobs to their ends, one file after the other, until so many steps are done."""
    with made_world(14) as world:
        world.account.is_calm = True
        process = world.start_process()
        done = before = 0
        while done < steps:
            if not done or process_is_idle(world):
                world.hand_in(JOBS_A_FILE)
            done += sum(turn(process, running) for running in process.lanes)
            process.sweep()
            world.clock.advance(TURN)
            if not before and done >= warm_up:
                before = resident_bytes()
        return Soaked(done, resident_bytes() - before)


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


def process_is_idle(world: World) -> bool:
    """Say whether the newest file is done."""
    return world.app.batches.count_states(world.batches[-1]).by_state.get("succeeded", 0) == JOBS_A_FILE


def resident_bytes() -> int:
    """Return what this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    soaked = soak(given.steps, warm_up=given.steps // 20)
    sys.stdout.write(f"{soaked.steps} steps: memory grew by {soaked.grown_bytes / MEGABYTE:.1f} MB\n")


if __name__ == "__main__":
    main()
