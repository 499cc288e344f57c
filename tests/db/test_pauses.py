"""Pauses: claims skip what is paused, jobs stay due, one probe ends it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.db import pauses
from orchestrator.db.pauses import CREDENTIALS, MODEL_LIMITS, PauseState, Scope
from orchestrator.domain.decide import PauseLane
from orchestrator.domain.job import Job
from orchestrator.domain.outcomes import (
    AccountRefused,
    NotSent,
    PauseScope,
    PollFailed,
    StillRunning,
    SubmitOutcome,
    TaskAccepted,
    ThrottledNow,
    Unknown,
)
from orchestrator.domain.ports import ClaimedSubmission, LaneName
from orchestrator.domain.states import State
from tests.db.driver import LEASE, Driver
from tests.fixtures.clock import START

QUOTA_END = START + timedelta(minutes=30)
QUOTA = ThrottledNow("1308", "quota used up", until=QUOTA_END)
ARREARS = AccountRefused("1113", "no money")
MINUTE = timedelta(seconds=60)


def pause_model(driver: Driver, count: int = 3) -> list[str]:
    """Queue jobs of one model and let the first of them run into a quota window."""
    ids = driver.add_many(count)
    driver.report(driver.claim_one(slots={"*": 1}), QUOTA)
    return ids


def probe(driver: Driver) -> ClaimedSubmission:
    """Let the pause pass and take the probe."""
    driver.clock.advance(QUOTA_END - driver.clock.now())
    return driver.claim_one()


class TestSubmitPause:
    """A submit answer with a pause code stops submitting only."""

    def test_nothing_of_the_model_is_claimed_and_its_jobs_stay_due(self, driver: Driver) -> None:
        ids = pause_model(driver)
        other = driver.add_many(1, model="cogview-4", kind="image")
        assert [row.job.id for row in driver.claim()] == other
        assert [driver.state(job_id) for job_id in ids] == [State.QUEUED] * 3
        assert driver.jobs.find_next_due(LaneName.SUBMIT) == QUOTA_END

    def test_the_words_of_the_refusal_are_kept(self, driver: Driver) -> None:
        pause_model(driver)
        (row,) = driver.rows(MODEL_LIMITS)
        assert (row["submit_pause_code"], row["submit_pause_message"]) == ("1308", "quota used up")
        assert row["poll_paused_until"] is None

    def test_a_passed_pause_lets_one_job_through(self, driver: Driver) -> None:
        """G8: a passed time is not yet an end; exactly one job tries."""
        pause_model(driver)
        row = probe(driver)
        assert driver.claim() == ()
        assert driver.jobs.find_next_due(LaneName.SUBMIT) is None
        assert driver.rows(MODEL_LIMITS)[0]["submit_probe_id"] == row.submission.id

    def test_the_probes_good_answer_ends_it(self, driver: Driver) -> None:
        pause_model(driver)
        driver.report(probe(driver), TaskAccepted("task-1"))
        assert driver.rows(MODEL_LIMITS)[0]["submit_paused_until"] is None
        assert len(driver.claim()) == 2

    def test_the_probes_pause_code_extends_it(self, driver: Driver) -> None:
        pause_model(driver)
        row = probe(driver)
        driver.report(row, ThrottledNow("1308", "still", until=QUOTA_END + 5 * MINUTE))
        assert driver.claim() == ()
        assert driver.jobs.find_next_due(LaneName.SUBMIT) == QUOTA_END + 5 * MINUTE
        driver.clock.advance(5 * MINUTE)
        assert len(driver.claim()) == 1

    @pytest.mark.parametrize("outcome", [Unknown("read_timeout", "no answer"), NotSent("connect_timeout", "nobody")])
    def test_a_probe_without_an_answer_puts_it_a_minute_ahead(self, driver: Driver, outcome: SubmitOutcome) -> None:
        pause_model(driver)
        driver.report(probe(driver), outcome)
        assert driver.rows(MODEL_LIMITS)[0]["submit_paused_until"] == QUOTA_END + MINUTE
        driver.clock.advance(MINUTE)
        assert len(driver.claim()) == 1

    def test_a_lapsed_probe_puts_it_a_minute_ahead(self, driver: Driver) -> None:
        pause_model(driver)
        probe(driver)
        driver.clock.advance(10 * MINUTE)
        (lapsed,) = driver.jobs.find_lapsed_submissions(limit=9)
        driver.report(lapsed, Unknown("lease_lapsed", "nobody said anything"))
        assert driver.claim() == ()
        driver.clock.advance(MINUTE)
        assert len(driver.claim()) == 1

    def test_another_jobs_answer_does_not_end_it(self, driver: Driver) -> None:
        """Calls that were in flight when the pause was set prove nothing about now."""
        driver.add_many(3)
        first, second = driver.claim(slots={"*": 2})
        driver.report(first, QUOTA)
        driver.report(second, TaskAccepted("task-1"))
        assert driver.claim() == ()

    def test_a_shorter_refusal_does_not_shorten_it(self, driver: Driver) -> None:
        driver.add_many(3)
        first, second = driver.claim(slots={"*": 2})
        driver.report(first, QUOTA)
        driver.report(second, ThrottledNow("1302", "slow down"))
        assert driver.rows(MODEL_LIMITS)[0]["submit_paused_until"] == QUOTA_END


class TestCredentialPause:
    """Account codes pause the whole credential; one probe over all its models."""

    def test_every_model_waits_and_one_job_probes(self, driver: Driver) -> None:
        """A16: many queued jobs make one call, not a storm."""
        driver.add_many(20)
        driver.add_many(20, model="cogview-4", kind="image")
        driver.report(driver.claim_one(limit=1), ARREARS)
        assert driver.claim() == ()
        driver.clock.advance(driver.rules.account_pause)
        row = driver.claim_one()
        assert driver.claim() == ()
        driver.report(row, TaskAccepted("task-1"))
        assert len(driver.claim()) > 1
        assert driver.rows(CREDENTIALS)[0]["submit_paused_until"] is None

    def test_it_is_kept_apart_from_other_credentials(self, driver: Driver) -> None:
        driver.add_many(2)
        driver.add_many(1, credential="second")
        driver.report(driver.claim_one(limit=1), ARREARS)
        assert len(driver.claim(credential="second")) == 1

    def test_one_probe_serves_the_credential_and_its_model(self, driver: Driver) -> None:
        driver.add_many(5)
        first, second = driver.claim(slots={"*": 2})
        driver.report(first, QUOTA)
        driver.report(second, ARREARS)
        row = probe(driver)
        driver.report(row, TaskAccepted("task-1"))
        assert driver.rows(CREDENTIALS)[0]["submit_paused_until"] is None
        assert driver.rows(MODEL_LIMITS)[0]["submit_paused_until"] is None


class TestPollPause:
    """A poll answer with a pause code stops polling only."""

    LIMITED = PollFailed("1302", "slow down", retry_after=10 * MINUTE, scope=PauseScope.MODEL)

    def poll_all(self, driver: Driver, limit: int = 100) -> tuple[Job, ...]:
        return driver.jobs.claim_due(LaneName.POLL, limit=limit, lease=LEASE).rows

    def pause(self, driver: Driver) -> list[str]:
        ids = [driver.add_processing(f"task-{n}").id for n in range(4)]
        driver.finish_poll(ids[0], self.LIMITED)
        return ids

    def test_no_poll_of_the_model_until_it_has_passed(self, driver: Driver) -> None:
        self.pause(driver)
        other = driver.add_processing("task-x", model="cogview-4", kind="image")
        driver.clock.advance(5 * MINUTE)
        assert [job.id for job in self.poll_all(driver)] == [other.id]
        assert len(driver.claim()) == 0
        driver.add_many(1)
        assert len(driver.claim(slots={"*": 9})) == 1

    def test_one_poll_probes_and_a_good_answer_ends_it(self, driver: Driver) -> None:
        self.pause(driver)
        driver.clock.advance(11 * MINUTE)
        (job,) = self.poll_all(driver)
        assert self.poll_all(driver) == ()
        driver.apply(job, StillRunning("PROCESSING"))
        assert driver.rows(MODEL_LIMITS)[0]["poll_paused_until"] is None
        assert len(self.poll_all(driver)) == 3

    def test_a_probe_that_failed_puts_it_a_minute_ahead(self, driver: Driver) -> None:
        self.pause(driver)
        driver.clock.advance(11 * MINUTE)
        (job,) = self.poll_all(driver)
        driver.apply(job, PollFailed("http_502", "bad gateway"))
        assert self.poll_all(driver) == ()
        driver.clock.advance(MINUTE)
        assert len(self.poll_all(driver)) == 1

    def test_a_probe_whose_lease_lapsed_puts_it_a_minute_ahead(self, driver: Driver) -> None:
        self.pause(driver)
        driver.clock.advance(11 * MINUTE)
        self.poll_all(driver)
        driver.clock.advance(2 * MINUTE)
        assert self.poll_all(driver) == ()
        driver.clock.advance(MINUTE)
        assert len(self.poll_all(driver)) == 1

    def test_a_probe_given_back_lets_another_go_at_once(self, driver: Driver) -> None:
        self.pause(driver)
        driver.clock.advance(11 * MINUTE)
        (job,) = self.poll_all(driver)
        driver.jobs.release({job.id: job.lease_token or ""})
        assert len(self.poll_all(driver)) == 1

    def test_a_credential_pause_lets_one_poll_through_over_all_models(self, driver: Driver) -> None:
        ids = [driver.add_processing(f"task-{n}").id for n in range(2)]
        driver.add_processing("task-x", model="cogview-4", kind="image")
        driver.finish_poll(ids[0], PollFailed("1113", "no money", retry_after=MINUTE, scope=PauseScope.CREDENTIAL))
        driver.clock.advance(20 * MINUTE)
        (job,) = self.poll_all(driver)
        driver.apply(job, StillRunning("PROCESSING"))
        assert len(self.poll_all(driver)) == 2

    def test_the_look_ahead_counts_the_pauses_end(self, driver: Driver) -> None:
        self.pause(driver)
        until = driver.rows(MODEL_LIMITS)[0]["poll_paused_until"]
        assert driver.jobs.find_next_due(LaneName.POLL) == until


def test_rows_that_are_missing_are_made_and_locked(driver: Driver) -> None:
    """The first claim of a model locks as every later one does."""
    scopes = {Scope("default"), Scope("default", "new"), Scope("default", "newer")}
    with driver.database.begin_write() as connection:
        assert pauses.lock(connection, PauseLane.SUBMIT, [Scope("default", "new")]).keys() == {Scope("default", "new")}
        assert pauses.lock(connection, PauseLane.SUBMIT, scopes) == dict.fromkeys(scopes, PauseState(None, None))
