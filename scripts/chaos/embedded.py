"""A round of `orchestrator run FILE` on SQLite: killed at random moments and started again until the file is done."""

from __future__ import annotations

import json
import time
from random import Random

from orchestrator.db.migrate import upgrade
from scripts.chaos.count import Counts, count_round
from scripts.chaos.customer import Customer
from scripts.chaos.installation import installed
from scripts.chaos.plan import Plan
from scripts.chaos.score import Score
from scripts.chaos.workers import Processes

LOOK_SECONDS = 0.02


def run_embedded(plan: Plan) -> Score:
    """Run one round and count what is left. The file is taken in by the run itself, so it is killed there too."""
    began, counts = time.monotonic(), Counts()
    rng = Random(plan.seed)  # noqa: S311 - a seed that replays is the point
    with installed(plan, None) as installation:
        (installation.folder / "data").mkdir()
        upgrade(f"sqlite:///{installation.folder / 'data' / 'orchestrator.db'}")
        path = installation.folder / "jobs.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in plan.lines()))
        runs = Processes(installation.environment, installation.folder)
        try:
            while counts.kills < plan.kills:
                run = runs.start(["run", str(path)])
                ends_at = time.monotonic() + plan.kill_every * rng.uniform(0.1, 1.9)
                while time.monotonic() < ends_at and run.process.is_alive():
                    time.sleep(LOOK_SECONDS)
                if not run.process.is_alive():
                    break  # it has come to its end: there is nothing left to be killed
                runs.kill(run)
                counts.kills += 1

            def settle() -> None:
                _run_to_end(runs, str(path))

            settle()
            with installation.app() as app:
                customer = Customer(app, installation.folder, plan.lines(), 0)
                customer.adopt()
                return count_round("embedded", plan, installation, customer, counts, began=began, settle=settle)
        finally:
            runs.close()


def _run_to_end(runs: Processes, path: str) -> None:
    run = runs.start(["run", path])
    run.process.join(600)
    runs.kill(run)
