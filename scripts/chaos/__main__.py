"""Breaks a real installation for so many rounds and says what was lost: `make chaos`, `make chaos-short`.

    python -m scripts.chaos --rounds 20 --jobs 250 --kills 25 --figures build/chaos.jsonl
    python -m scripts.chaos --embedded --rounds 3 --jobs 100 --kills 100

Every round is one line of the figures' file; a run that was interrupted goes on behind the last of them. Exit code 1:
a job was lost, charged twice or forgotten, a limit was exceeded, or the doctor found something.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.chaos.embedded import run_embedded
from scripts.chaos.fleet import run_fleet
from scripts.chaos.installation import running_servers
from scripts.chaos.plan import Plan
from scripts.chaos.score import Score
from scripts.chaos.shell import describe_commit, end_by_signal

BAD = ("lost", "twice", "orphans", "above_limit")
COUNTED = ("jobs", "held", "attached", *BAD, "stray_objects", "kills", "flushes", "broker_restarts", "database_crashes")


def main() -> int:
    """Run what is missing of the rounds; return the exit code."""
    end_by_signal()
    given = _read_arguments()
    command = f"python -m scripts.chaos {' '.join(sys.argv[1:])}".strip()
    commit = describe_commit()
    scores: list[dict[str, Any]] = list(_read_figures(given.figures))
    done = {(score["mode"], score["seed"]) for score in scores}
    mode = "embedded" if given.embedded else "fleet"
    plans = [_plan(given, number) for number in range(given.rounds)]
    for score in _run([plan for plan in plans if (mode, plan.seed) not in done], is_embedded=given.embedded):
        line = replace(score, commit=commit, command=command).as_json()
        scores.append(line)
        _say(line)
        if given.figures is not None:
            with given.figures.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, sort_keys=True) + "\n")
    seeds = {plan.seed for plan in plans}
    return sum_up([score for score in scores if score["mode"] == mode and score["seed"] in seeds], command)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plain = Plan(seed=1, jobs=100, kills=20)
    parser.add_argument("--embedded", action="store_true", help="SQLite and `orchestrator run` in place of a fleet")
    parser.add_argument("--seed", type=int, default=plain.seed, help="the first round's; each further one has the next")
    parser.add_argument("--rounds", type=int, default=1)
    for name in ("jobs", "kills", "workers", "limit", "broker_restarts", "database_crashes"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(plain, name), help="a round")
    for name in ("kill_every", "flush_every"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(plain, name), help="seconds, mean"
        )
    parser.add_argument(
        "--figures", type=Path, help="one line of JSON a round; rounds that stand in it are not run again"
    )
    return parser.parse_args()


def _plan(given: argparse.Namespace, number: int) -> Plan:
    names = ("jobs", "kills", "workers", "limit", "broker_restarts", "database_crashes", "kill_every", "flush_every")
    return Plan(seed=given.seed + number, **{name: getattr(given, name) for name in names})


def _read_figures(path: Path | None) -> Iterator[dict[str, Any]]:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path is not None and path.exists():
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def _run(plans: list[Plan], *, is_embedded: bool) -> Iterator[Score]:
    with ExitStack() as stack:
        if is_embedded:
            yield from map(run_embedded, plans)
        elif plans:
            servers = stack.enter_context(running_servers())
            yield from (run_fleet(plan, servers) for plan in plans)


def _say(score: dict[str, Any]) -> None:
    counts = ", ".join(f"{name} {score[name]}" for name in COUNTED)
    print(
        f"{score['mode']} seed {score['seed']} ({score['seconds']} s): {counts}; {score['states']} {score['failures']}",
        flush=True,
    )
    for code, count in score["findings"].items():
        print(f"  the doctor found {code} {count} times", flush=True)


def sum_up(scores: list[dict[str, Any]], command: str) -> int:
    """Say the sums, and which rounds went wrong and how to see them again; return the exit code."""
    sums: Counter[str] = Counter()
    states: Counter[str] = Counter()
    for score in scores:
        sums.update({name: score[name] for name in COUNTED})
        sums["findings"] += sum(score["findings"].values())
        states.update(score["states"])
    print(
        f"{len(scores)} rounds: {', '.join(f'{name} {sums[name]}' for name in (*COUNTED, 'findings'))}; {dict(states)}"
    )
    bad = [score for score in scores if any(score[name] for name in BAD) or score["findings"]]
    for score in bad:
        print(f"NOT GOOD: seed {score['seed']}; again by: {command.partition(' --rounds')[0]} --seed {score['seed']}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
