"""One seed: an order of claims, calls, writes, deaths, sweeps, clock jumps and people, then calm until all has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from orchestrator import crashpoints
from orchestrator.domain.states import ACTIVE
from tests.simulation import persons
from tests.simulation.invariants import (
    check_charges,
    check_end,
    check_histories,
    check_jobs,
    check_policy,
    check_provider,
    count_policy,
)
from tests.simulation.process import Died, Fuse, Process, Running
from tests.simulation.world import World, made_world

STEPS = 160
PROCESSES = 3
LAST_ROUNDS = 400
CALM_SECONDS = 3700
"""By then the journals of the dead have been read, though whoever read them last died over it, and what was unknown is
older than the hour that it counts for.
"""
JUMPS = (0.2, 2, 2, 20, 20, 70, 200, 400, 3600)
"""Seconds: short waits, a poll, more than each lease, more than the life that a silent call is given."""

Step = Callable[[World, Process], str]


class SimulationFailed(AssertionError):
    """A promise was broken. It says the seed, the last steps, and how to see it again."""


def simulate(
    seed: int, *, steps: int = STEPS, story_lines: int = 25, resubmit_max: int | None = None
) -> dict[str, int]:
    """Run one seed; return how many of what happened. Raises SimulationFailed."""
    story: list[str] = []
    with made_world(seed, resubmit_max=resubmit_max) as world, armed() as fuse:
        try:
            _run(world, fuse, story, steps)
        except Exception as error:
            last = "\n  ".join(story[-story_lines:])
            again = f"python -m scripts.simulate --from {seed} --seeds 1"
            if steps != STEPS:
                again += f" --steps {steps}"
            if resubmit_max is not None:
                again += f" --resubmit-max {resubmit_max}"
            raise SimulationFailed(f"seed {seed}: {error!r}\nthe last steps:\n  {last}\nagain: {again}") from error
        return _figures(world, story)


@contextmanager
def armed() -> Iterator[Fuse]:
    """Let crash points end a simulated process in place of this one."""
    real, fuse = crashpoints._FUSE, Fuse()
    setattr(crashpoints, "_FUSE", fuse)  # noqa: B010 - it stands in for another class, which types forbid
    try:
        yield fuse
    finally:
        crashpoints._FUSE = real


def _run(world: World, fuse: Fuse, story: list[str], steps: int) -> None:
    rng = world.rng
    for _ in range(PROCESSES):
        world.start_process()
    world.hand_in(rng.randint(3, 8))
    for number in range(steps):
        process = rng.choice(world.processes)
        name = rng.choices(list(STEPS_BY_NAME), [weight for weight, _ in STEPS_BY_NAME.values()])[0]
        step = STEPS_BY_NAME[name][1]
        if rng.random() < 0.12:
            fuse.point = rng.choice(list(crashpoints.CrashPoint))
        story.append(f"{number} {process.context.journal.process} {name}")
        is_alive = _survives(world, process, step, fuse, story)
        fuse.point = None
        if not is_alive:
            world.replace_process(process)
        check_provider(world)
        check_charges(world)
    end_well(world, story)


def end_well(world: World, story: list[str]) -> None:
    """Let all come to its end, and see that it is a good one."""
    if len(world.batches) < len(world.files):
        world.take_newest()
    check_jobs(world)
    _calm_down(world, story)
    check_provider(world)
    world.charges_checked = 0  # once more, all of them
    check_charges(world)
    check_jobs(world)
    check_policy(world)
    world.histories.clear()
    check_histories(world)
    check_end(world)


def _survives(world: World, process: Process, step: Step, fuse: Fuse, story: list[str]) -> bool:
    armed = fuse.point
    try:
        story[-1] += f" {step(world, process)}"
    except Died:
        story[-1] += f" DIED at {armed or 'no point of ours'}"
        return False
    return True


def _calm_down(world: World, story: list[str]) -> None:
    """No more faults or deaths: everything must come to an end by itself, however long it waits.

    At first every process writes what is in its hands; then they take turns, since at one moment one finds all that is due.
    """
    story.append("calm")
    world.account.is_calm = True
    began = world.clock.monotonic()
    for number in range(LAST_ROUNDS):
        is_swept = world.clock.monotonic() - began > CALM_SECONDS
        if is_swept and not _count_active(world) and not any(p.submit.held for p in world.processes):
            break
        for process in world.processes if not number else [world.processes[number % PROCESSES]]:
            process.sweep()
            for running in process.lanes:
                _drain(process, running)
        world.clock.advance(timedelta(seconds=min(10 * 1.8**number, 3600)))
    for process in world.processes:
        process.sweep()


def _drain(process: Process, running: Running) -> None:
    while running.claimed:
        process.perform(running, 0)
    while running is process.submit and running.under_way:
        process.go_on(0)
    process.apply(running)
    process.claim(running)
    while running.claimed:
        process.perform(running, 0)
    while running is process.submit and running.under_way:
        process.go_on(0)
    process.apply(running)


def _count_active(world: World) -> int:
    members = (job for batch in world.batches for job in world.app.history.iter_members(batch))
    return sum(job.state in ACTIVE for job in members)


def _claim(world: World, process: Process) -> str:
    running = world.rng.choice(process.lanes)
    before = len(running.claimed)
    process.claim(running)
    return f"{running.lane.name} {len(running.claimed) - before}"


def _perform(world: World, process: Process) -> str:
    filled = [running for running in process.lanes if running.claimed]
    if not filled:
        return _claim(world, process)
    running = world.rng.choice(filled)
    process.perform(running, world.rng.randrange(len(running.claimed)))
    return str(running.lane.name)


def _go_on(world: World, process: Process) -> str:
    if not process.submit.under_way:
        return _perform(world, process)
    process.go_on(world.rng.randrange(len(process.submit.under_way)))
    return "answered"


def _apply(world: World, process: Process) -> str:
    filled = [running for running in process.lanes if running.done]
    if not filled:
        return "nothing"
    running = world.rng.choice(filled)
    count = len(running.done)
    process.apply(running)
    return f"{running.lane.name} {count}"


def _renew(world: World, process: Process) -> str:
    for running in process.lanes:
        process.renew(running)
    return ""


def _release(world: World, process: Process) -> str:
    process.release(world.rng.choice(process.lanes))
    return ""


def _sweep(world: World, process: Process) -> str:
    process.sweep()
    return ""


def _die(world: World, process: Process) -> str:
    raise Died from None


def _wait(world: World, process: Process) -> str:
    seconds = world.rng.choice(JUMPS)
    world.clock.advance(timedelta(seconds=seconds))
    return f"{seconds} s"


def _step_back(world: World, process: Process) -> str:
    seconds = world.rng.choice((1, 30, 600))
    world.clock.step_back(timedelta(seconds=seconds))
    return f"{seconds} s"


def _act(world: World, process: Process) -> str:
    return persons.act(world)


def _take(world: World, process: Process) -> str:
    if len(world.batches) < len(world.files):  # somebody died over it: the file is handed in again
        world.take_newest()
    else:
        world.hand_in(world.rng.randint(1, 3))
    return ""


STEPS_BY_NAME: dict[str, tuple[int, Step]] = {
    "claim": (22, _claim),
    "perform": (26, _perform),
    "go_on": (14, _go_on),
    "apply": (18, _apply),
    "renew": (3, _renew),
    "release": (2, _release),
    "sweep": (8, _sweep),
    "die": (3, _die),
    "wait": (16, _wait),
    "step_back": (1, _step_back),
    "act": (10, _act),
    "take": (1, _take),
}


def _figures(world: World, story: list[str]) -> dict[str, int]:
    figures = {"steps": len(story), "deaths": world.born - len(world.processes), "charges": len(world.account.tasks)}
    figures["resubmitted_by_policy"] = sum(count_policy(world, job_id) for job_id in world.jobs)
    for batch in world.batches:
        for job in world.app.history.iter_members(batch):
            figures[str(job.state)] = figures.get(str(job.state), 0) + 1
    return figures
