"""B9: a job whose step kills its process ends in a person's hands after five deaths, and takes nobody along."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from sqlalchemy import update

from orchestrator.db.rows import JOBS
from orchestrator.domain.retry import Rules
from orchestrator.domain.states import State
from orchestrator.services.lanes.archive import ArchiveLane
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO

ROOT = Path(__file__).parents[2]
NEIGHBOURS = 4
ENOUGH = 12  # runs; one that needs more would go on for ever


def test_the_archive_lane_runs_empty_for_one_that_must_be_alone(bench: Bench) -> None:
    """Whatever its class: nothing is taken in either class until it has had its turn; then the others go on."""
    with bench.process() as opened:
        windows = {"video": 2, "other": 1}
        context = replace(opened, limits=replace(opened.limits, archive_windows=windows))
        for number in range(3):
            bench.start_archiving(context, {**VIDEO, "custom_id": f"video-{number}"})
        suspect = bench.only(bench.start_processing(context, IMAGE)).id
        with bench.app.jobs._database.begin_write() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == suspect).values(death_count=2))
        lane = ArchiveLane(context)
        first, second = lane.claim([])
        assert suspect not in {first.job.id, second.job.id}
        lane.release([second])
        assert lane.claim([first]) == []
        lane.release([first])
        (alone,) = lane.claim([])
        assert alone.job.id == suspect
        assert lane.claim([alone]) == []
        lane.release([alone])  # a release forgets its deaths
        assert len(lane.claim([])) == 3


def run_process(bench: Bench, task_id: str, deaths: Path) -> int:
    settings, sandbox = bench.app.settings, bench.sandbox
    arguments = (settings.database, settings.data_dir, sandbox.base_url, sandbox.host_port, task_id, deaths)
    command = [sys.executable, "-m", "tests.services.poisoned", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, timeout=280, check=False).returncode


def test_a_job_that_kills_its_process_takes_no_neighbour_along(bench: Bench) -> None:
    """Real processes, really killed: at most five executions, then needs_review; every neighbour is archived."""
    batch = bench.take(*[VIDEO] * (NEIGHBOURS + 1))
    with bench.process() as context:
        bench.submit(context)
    poisoned, *neighbours = bench.jobs(batch)
    assert {job.state for job in (poisoned, *neighbours)} == {State.PROCESSING}
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(update(JOBS).values(due_at=JOBS.c.created_at))
    deaths = bench.folder / "deaths"
    codes: list[int] = []
    while len(codes) < ENOUGH and (not codes or codes[-1] != 0):
        codes.append(run_process(bench, str(poisoned.provider_task_id), deaths))
    allowed = Rules().deaths_allowed
    assert codes == [-signal.SIGKILL] * allowed + [0]
    assert len(deaths.read_text().splitlines()) == allowed
    assert bench.app.history.get_job(poisoned.id).state is State.NEEDS_REVIEW
    assert {bench.app.history.get_job(job.id).state for job in neighbours} == {State.SUCCEEDED}
    assert bench.posts() == NEIGHBOURS + 1
