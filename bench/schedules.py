"""What the poll schedules cost, computed: `python -m bench.schedules`. Questions a task, and slot time lost to asking late.

Nothing is run: a task that lasts T is asked by the kind's own schedule, and every point of time near T is as likely its end.
Beside it the example of the official SDK, a question every 5 s (zai-api.md 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from statistics import mean

from bench.results import Figure, emit
from orchestrator.domain.retry import PollSchedule
from orchestrator.wiring import kinds_by_name

TASKS = 400  # drawn a duration: the means then stand to two places
SPREAD = 0.1
LASTS = {"image": (5, 10, 20), "video": (60, 120, 300, 600)}  # zai-api.md 2.1 and 3.3: seconds, and minutes
SDK_SECONDS = 5.0


def ask(lasts: float, first: float, next_delay: Callable[[float], float]) -> tuple[int, float]:
    """Return how many questions a task of `lasts` seconds gets and how long after its end the last one comes."""
    at, count = first, 1
    while at < lasts:
        at += next_delay(at)
        count += 1
    return count, at - lasts


def cost_of(schedule: PollSchedule, lasts: float, rng: Random) -> tuple[float, float]:
    """Return the mean number of questions and the mean share of a task's time that its slot then stands empty."""

    def next_delay(age: float) -> float:
        return schedule.next_delay(timedelta(seconds=age), rng).total_seconds()

    drawn = [lasts * rng.uniform(1 - SPREAD, 1 + SPREAD) for _ in range(TASKS)]
    found = [ask(each, schedule.first_delay(rng).total_seconds(), next_delay) for each in drawn]
    return mean(count for count, _ in found), mean(late / each for (_, late), each in zip(found, drawn, strict=True))


def main() -> None:
    """Print two figures per kind and duration."""
    every = timedelta(seconds=SDK_SECONDS)
    fixed = PollSchedule(first=every, shortest=every, longest=every, jitter=0.0)
    kinds = kinds_by_name()
    for kind, durations in LASTS.items():
        for lasts in durations:
            count, lost = cost_of(kinds[kind].schedule, lasts, Random(1))
            sdk_count, sdk_lost = cost_of(fixed, lasts, Random(1))
            name, beside = f"{kind} of {lasts} s", "asking every 5 s"
            emit(Figure(f"{name}: questions", "", count, sdk_count, beside, count / sdk_count))
            emit(Figure(f"{name}: slot time lost", "%", lost * 100, sdk_lost * 100, beside, lost / sdk_lost))


if __name__ == "__main__":
    main()
