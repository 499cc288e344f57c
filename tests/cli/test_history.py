"""The history on the command line: what changes in bulk asks first, exports stream, models are steered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from orchestrator.clock import SystemClock
from orchestrator.db.access import SqlAuditLog
from orchestrator.db.engine import Database, open_database
from orchestrator.db.migrate import upgrade
from tests.cli.test_commands import call
from tests.db.driver import Driver
from tests.factories import make_new_job

Place = dict[str, str]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give the settings of an empty job table."""
    (tmp_path / "data").mkdir()
    upgrade(f"sqlite:///{tmp_path}/data/orchestrator.db")
    return {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def table(place: Place) -> Iterator[Database]:
    """Give that job table."""
    with closing(
        open_database(f"sqlite:///{place['ORCHESTRATOR_DATA_DIR']}/orchestrator.db", clock=SystemClock())
    ) as table:
        yield table


def add(table: Database, count: int, prompt: str = "a red kite") -> list[str]:
    """Insert queued jobs."""
    jobs = [make_new_job(input={"prompt": prompt}, tags={"campaign": "spring"}) for _ in range(count)]
    Driver(table, SystemClock()).add(*jobs)  # type: ignore[arg-type]
    return [job.id for job in jobs]


def count(place: Place, *query: str) -> int:
    return len(call(place, "jobs", "list", *query, "-o", "jsonl", "--limit", "1000").stdout.splitlines())


def noted(table: Database) -> list[tuple[str, str, str, int]]:
    """Return what the audit log says was done here, newest first."""
    entries = SqlAuditLog(table, rng=Random(1)).list_entries(limit=100)
    assert {(entry.actor, entry.owner) for entry in entries} == {("local", "*")}
    return [(entry.action, entry.subject, entry.reason, entry.count) for entry in entries]


class TestBulk:
    """Count and cost are shown, then asked for; nobody there to answer means no."""

    def test_a_cancel_shows_what_it_comes_to_and_asks(self, place: Place, table: Database) -> None:
        """Nothing happens without a yes; then every job that was shown is stopped, in several groups."""
        add(table, 450)
        add(table, 1, "a green hill")
        refused = call(place, "jobs", "cancel", "--query", "kite", text="n\n")
        assert "stop 450 queued jobs, about 90.00 USD not spent" in refused.stderr
        assert (refused.exit_code, count(place, "status:queued")) == (4, 451)
        done = call(place, "jobs", "cancel", "--query", "kite", "--reason", "over", "-o", "json", text="y\n")
        assert (done.exit_code, json.loads(done.stdout)) == (0, {"stopped": 450, "runs_on": 0, "left_alone": 0})
        assert (count(place, "kite status:cancelled"), count(place, "status:queued")) == (450, 1)
        assert noted(table) == [("jobs.cancel", "kite", "over", 450)]

    def test_a_retry_shows_the_new_charges(self, place: Place, table: Database) -> None:
        """Cancelled jobs can be tried again as new charges; --yes does not ask."""
        add(table, 3)
        call(place, "jobs", "cancel", "--query", "tag:campaign=spring", "--yes")
        refused = call(place, "jobs", "retry", "--query", "status:cancelled", text="n\n")
        assert "3 would be new charges of about 0.60 USD" in refused.stderr
        assert (refused.exit_code, count(place, "status:queued")) == (4, 0)
        done = call(place, "jobs", "retry", "--query", "status:cancelled", "--yes", "-o", "json")
        assert json.loads(done.stdout) == {"queued": 3, "left_alone": 0}
        assert done.stderr.count("run it, and what else waits in its batch, with: ") == 1
        assert " batches run batch_" in done.stderr
        assert count(place, "status:queued") == 3

    def test_nothing_found_is_said(self, place: Place, table: Database) -> None:
        """And nobody is asked."""
        add(table, 1)
        done = call(place, "jobs", "retry", "--query", "status:queued")
        assert (done.exit_code, "nothing to do" in done.stderr) == (0, True)
        assert "left alone: 1 queued" in done.stderr

    @pytest.mark.parametrize("arguments", [(), ("job_1", "--query", "kite")])
    def test_jobs_are_named_in_one_way(self, place: Place, arguments: tuple[str, ...]) -> None:
        """Neither all by mistake nor one of both."""
        for command in ("cancel", "retry"):
            assert call(place, "jobs", command, *arguments).exit_code == 2

    def test_a_bad_query_points_before_anything(self, place: Place, table: Database) -> None:
        """The same words as of a list."""
        add(table, 1)
        done = call(place, "jobs", "cancel", "--query", "status:queued ab", "--yes")
        assert (done.exit_code, "at character 15" in done.stderr) == (2, True)
        assert count(place, "status:queued") == 1


class TestExport:
    """Every job, without a limit, in a form that spreadsheets and programs read."""

    def test_both_forms(self, place: Place, table: Database) -> None:
        """More than a page of the database."""
        ids = add(table, 1_201, "=HYPERLINK(1)")
        rows = list(csv.DictReader(io.StringIO(call(place, "jobs", "export", "hyperlink", "-o", "csv").stdout)))
        lines = call(place, "jobs", "export", "hyperlink", "-o", "jsonl").stdout.splitlines()
        assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in lines] == ids[::-1]
        assert {row["input.prompt"] for row in rows} == {"'=HYPERLINK(1)"}

    def test_the_next_page_is_named_with_its_query(self, place: Place, table: Database) -> None:
        """What is printed can be pasted."""
        ids = add(table, 3)
        more = call(place, "jobs", "list", "red kite", "--limit", "2")
        assert f"jobs list 'red kite' --limit 2 --after {ids[1]}" in more.stderr


class TestUsage:
    """Money and files, added up."""

    def test_groups_and_times(self, place: Place, table: Database) -> None:
        """One line per group; a bad time is told with what can be written."""
        add(table, 2)
        (row,) = call(place, "usage", "--by", "tag", "-o", "jsonl").stdout.splitlines()
        used = json.loads(row)
        assert (used["group"], used["jobs"], used["cost"]["estimate"]) == ("campaign=spring", 2, "0.40")
        assert call(place, "usage", "--since", "1h", "-o", "jsonl").exit_code == 0
        bad = call(place, "usage", "--since", "soon")
        assert (bad.exit_code, "--since" in bad.stderr, "7d" in bad.stderr) == (2, True, True)
        assert "cost.final" in call(place, "usage", "-o", "csv").stdout


class TestModels:
    """An operator's hand on the fleet."""

    def test_limits_and_pauses_are_set_shown_and_ended(self, place: Place, table: Database) -> None:
        """What `list` says is what claims hold to."""
        add(table, 1)

        def shown() -> dict[str, object]:
            rows = [json.loads(line) for line in call(place, "models", "list", "-o", "jsonl").stdout.splitlines()]
            return next(row for row in rows if row["model"] == "cogvideox-3")

        assert (shown()["limit"], shown()["queued"]) == (1, 1)
        assert call(place, "models", "limit", "cogvideox-3", "7").exit_code == 0
        assert (shown()["limit"], shown()["limit_from"]) == (7, "operator")
        assert call(place, "models", "limit", "cogvideox-3", "settings").exit_code == 0
        assert shown()["limit_from"] == "settings"
        assert call(place, "models", "pause", "cogvideox-3", "--reason", "bad films").exit_code == 0
        assert (shown()["is_paused"], shown()["pause_message"]) == (True, "by local: bad films")
        (job,) = call(place, "jobs", "list", "-o", "jsonl").stdout.splitlines()
        assert "models resume cogvideox-3" in json.loads(job)["status_reason"]
        assert "goes on" in call(place, "models", "resume", "cogvideox-3").stdout
        assert "was not paused" in call(place, "models", "resume", "cogvideox-3").stdout
        assert [(action, reason) for action, _, reason, _ in noted(table)][::-1] == [
            ("model.limit", "to 7"),
            ("model.limit", "to settings"),
            ("model.pause", "bad films"),
            ("model.resume", ""),
            ("model.resume", ""),
        ]

    @pytest.mark.parametrize("number", ["0", "-1", "many", "1e3", "1000000"])
    def test_a_limit_is_a_number(self, place: Place, table: Database, number: str) -> None:
        """Zero is a pause, and has a name."""
        done = call(place, "models", "limit", "cogvideox-3", "--", number)
        assert (done.exit_code, "models pause" in done.stderr) == (2, True)

    def test_a_misspelled_model_is_exit_5(self, place: Place, table: Database) -> None:
        """A pause of nothing would be believed."""
        assert call(place, "models", "pause", "cogvideox-33").exit_code == 5
