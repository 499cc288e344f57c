"""The simulated installation driven by hypothesis: it chooses every step, and tells the shortest story that goes wrong.

`python -m tests.simulation.machine --examples 1000` looks for longer than a run of the tests does.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.crashpoints import CrashPoint
from tests.simulation import persons
from tests.simulation.invariants import check_charges, check_histories, check_provider
from tests.simulation.process import Died, Fuse, Process, Running
from tests.simulation.provider import POLLS, WAYS
from tests.simulation.run import JUMPS, PROCESSES, armed, end_well
from tests.simulation.world import World, made_world

NUMBERS = st.integers(0, 59)  # of whatever there is to choose from, counted round: 60 is divided by most small numbers
STEPS_A_STORY = 40


class Installation(RuleBasedStateMachine):
    """Processes on one job table: each rule is one thing that one of them, a person or the clock does."""

    world: World
    fuse: Fuse

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()

    @initialize(seed=st.integers(0, 999), resubmit_max=st.sampled_from((0, 2)), count=st.integers(1, 4))
    def begin(self, seed: int, resubmit_max: int, count: int) -> None:
        """Start with a file of jobs; what chance decides beside the rules comes from the seed."""
        self.world = self.open.enter_context(made_world(seed, resubmit_max=resubmit_max))
        self.fuse = self.open.enter_context(armed())
        for _ in range(PROCESSES):
            self.world.start_process()
        self.world.hand_in(count)

    def process(self, number: int) -> Process:
        """Return one of the processes."""
        return self.world.processes[number % PROCESSES]

    def having(self, what: Callable[[Process], object]) -> list[Process]:
        """Return the processes of which something is true."""
        return [process for process in self.world.processes if what(process)]

    def choose(self, number: int, what: Callable[[Process], object]) -> Process:
        """Return one of those."""
        found = self.having(what)
        return found[number % len(found)]

    def lane(self, process: Process, number: int) -> Running:
        """Return one of its lanes."""
        return process.lanes[number % len(process.lanes)]

    @rule(who=NUMBERS, lane=NUMBERS)
    def claim(self, who: int, lane: int) -> None:
        """Claim what is due, also what a lapsed lease of another still names."""
        process = self.process(who)
        process.claim(self.lane(process, lane))

    @rule(who=NUMBERS, lane=NUMBERS, way=st.sampled_from(sorted(WAYS)), news=st.sampled_from(sorted(POLLS)))
    def work(self, who: int, lane: int, way: str, news: str) -> None:
        """Claim and do everything in a lane, up to the write: what is written when is another's business."""
        process = self.process(who)
        running = self.lane(process, lane)
        self.world.account.next_way, self.world.account.next_poll = way, news
        process.claim(running)
        while running.claimed:
            process.perform(running, 0)
        while running is process.submit and running.under_way:
            process.go_on(0)

    @precondition(lambda self: self.having(lambda process: process.submit.claimed))
    @rule(who=NUMBERS, which=NUMBERS, way=st.sampled_from(sorted(WAYS)))
    def submit(self, who: int, which: int, way: str) -> None:
        """Make a paid call, as far as the provider."""
        process = self.choose(who, lambda process: process.submit.claimed)
        self.world.account.next_way = way
        process.perform(process.submit, which % len(process.submit.claimed))

    @precondition(lambda self: self.having(lambda process: process.submit.under_way))
    @rule(who=NUMBERS, which=NUMBERS, way=st.sampled_from(sorted(WAYS)))
    def answer(self, who: int, which: int, way: str) -> None:
        """Let a paid call have its answer: a task, a refusal, or nothing that explains itself."""
        process = self.choose(who, lambda process: process.submit.under_way)
        self.world.account.next_way = way
        process.go_on(which % len(process.submit.under_way))

    @precondition(lambda self: self.having(lambda process: process.poll.claimed))
    @rule(who=NUMBERS, which=NUMBERS, news=st.sampled_from(sorted(POLLS)))
    def poll(self, who: int, which: int, news: str) -> None:
        """Ask about a task."""
        process = self.choose(who, lambda process: process.poll.claimed)
        self.world.account.next_poll = news
        process.perform(process.poll, which % len(process.poll.claimed))

    @precondition(lambda self: self.having(lambda process: process.archive.claimed))
    @rule(who=NUMBERS, which=NUMBERS)
    def archive(self, who: int, which: int) -> None:
        """Fetch and store what a task has made."""
        process = self.choose(who, lambda process: process.archive.claimed)
        process.perform(process.archive, which % len(process.archive.claimed))

    @precondition(lambda self: self.having(lambda process: any(running.done for running in process.lanes)))
    @rule(who=NUMBERS, lane=NUMBERS)
    def write(self, who: int, lane: int) -> None:
        """Write what is done, in time or late."""
        process = self.choose(who, lambda process: any(running.done for running in process.lanes))
        filled = [running for running in process.lanes if running.done]
        process.apply(filled[lane % len(filled)])

    @rule(who=NUMBERS, lane=NUMBERS)
    def renew(self, who: int, lane: int) -> None:
        """Renew leases."""
        process = self.process(who)
        process.renew(self.lane(process, lane))

    @rule(who=NUMBERS, lane=NUMBERS)
    def release(self, who: int, lane: int) -> None:
        """Give back what is not begun."""
        process = self.process(who)
        process.release(self.lane(process, lane))

    @rule(who=NUMBERS)
    def sweep(self, who: int) -> None:
        """Settle lapsed calls, read the journals of the dead, resubmit by policy, finish batches."""
        self.process(who).sweep()

    @rule(who=NUMBERS, point=st.sampled_from([None, *CrashPoint]), lane=NUMBERS)
    def die(self, who: int, point: CrashPoint | None, lane: int) -> None:
        """Die here and now, or in the next thing that passes a crash point."""
        process = self.process(who)
        self.fuse.point = point
        try:
            if point is not None:
                process.apply(self.lane(process, lane))
                process.claim(self.lane(process, lane))
                process.sweep()
        except Died:
            pass  # where it was told to; at a point that was not passed it dies behind them all
        self.fuse.point = None
        self.world.replace_process(process)

    @rule(seconds=st.sampled_from(sorted(set(JUMPS))))
    def wait(self, seconds: float) -> None:
        """Let time pass: an instant, a lease, or an hour."""
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule(seconds=st.sampled_from((1, 30, 600)))
    def step_back(self, seconds: int) -> None:
        """Set the wall clock back."""
        self.world.clock.step_back(timedelta(seconds=seconds))

    @rule(name=st.sampled_from(sorted(persons.ACTIONS)), which=NUMBERS)
    def act(self, name: str, which: int) -> None:
        """Cancel, retry, attach, resubmit or write off: a person, at any moment."""
        jobs = sorted(self.world.jobs)
        persons.act_on(self.world, jobs[which % len(jobs)], name)

    @precondition(lambda self: len(self.world.files) < 3)
    @rule(count=st.integers(1, 2))
    def hand_in(self, count: int) -> None:
        """Hand in another file."""
        self.world.hand_in(count)

    @invariant()
    def nothing_is_sent_or_charged_twice(self) -> None:
        """Also what a person or the policy has agreed to is charged once, and no limit is exceeded."""
        check_provider(self.world)
        check_charges(self.world)

    @invariant()
    def histories_are_whole(self) -> None:
        """And tell only of moves that the table of states lists."""
        check_histories(self.world)

    def teardown(self) -> None:
        """Whatever was done: left alone, everything comes to an end, and no task that was paid for is forgotten."""
        try:
            if hasattr(self, "world"):
                end_well(self.world, [])
        finally:
            self.open.close()


def look(examples: int, *, steps: int = STEPS_A_STORY, **given: Any) -> None:  # noqa: ANN401 - hypothesis' own settings
    """Try so many stories; raises what the first that goes wrong raised."""
    logging.disable(logging.CRITICAL)
    try:
        run_state_machine_as_test(
            Installation,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                **given,
            ),
        )
    finally:
        logging.disable(logging.NOTSET)


def main() -> None:
    """Look for long, tell the shortest story found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=STEPS_A_STORY, help="of each at most")
    given = parser.parse_args()
    look(given.examples, steps=given.steps, verbosity=Verbosity.normal)
    sys.stdout.write(f"{given.examples} stories of up to {given.steps} steps: nothing was found\n")


GENERATED_ONLY = (Phase.generate,)
"""Without looking for the shortest story: whether anything is found is all that a test of the machine asks."""

if __name__ == "__main__":
    main()
