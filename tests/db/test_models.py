"""Limits and pauses set while the fleet runs: every claim holds to them from the next one on, whoever makes it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.db.models import SqlModels
from orchestrator.db.progress import SqlProgress
from orchestrator.domain.errors import NotFound
from orchestrator.domain.models import BY_HAND, UNTIL_RESUMED
from orchestrator.domain.outcomes import Rejected, TaskAccepted, ThrottledNow
from orchestrator.domain.ports import LaneName
from orchestrator.services.explain import describe
from orchestrator.services.models import ModelDesk, limit_model, list_models, pause_model, resume_model, tell_excess
from orchestrator.wiring import kinds_by_name
from tests.db.driver import Driver
from tests.factories import HOUR, make_window

MODEL = "cogvideox-3"


@pytest.fixture
def desk(driver: Driver) -> ModelDesk:
    """Give a desk whose settings allow five of everything."""
    return ModelDesk(SqlModels(driver.database), kinds_by_name(), {"*": 5})


def shown(desk: ModelDesk, model: str = MODEL) -> dict[str, object]:
    return next(dict(row) for row in list_models(desk) if row["model"] == model)


class TestLimits:
    """Promise 10: slots are counted under the lock that a limit is written under."""

    def test_the_next_claim_holds_to_it(self, driver: Driver, desk: ModelDesk) -> None:
        """Over the settings of whoever claims; what is in flight goes on and counts."""
        driver.add_many(10)
        limit_model(desk, MODEL, 2, actor="ann")
        assert len(driver.claim(slots={"*": 5})) == 2
        assert driver.claim(slots={MODEL: 9}) == ()
        limit_model(desk, MODEL, 4, actor="ann")
        assert len(driver.claim(slots={"*": 1})) == 2
        limit_model(desk, MODEL, 1, actor="ann")
        assert driver.claim(slots={"*": 9}) == ()
        limit_model(desk, MODEL, None, actor="ann")
        assert len(driver.claim(slots={"*": 5})) == 1

    def test_others_keep_theirs(self, driver: Driver, desk: ModelDesk) -> None:
        """A limit is one model's."""
        driver.add_many(3)
        driver.add_many(3, model="cogview-4", kind="image")
        limit_model(desk, MODEL, 1, actor="ann")
        models = [row.job.model for row in driver.claim(slots={"*": 3})]
        assert (models.count(MODEL), models.count("cogview-4")) == (1, 3)

    def test_a_full_model_is_not_due_work(self, driver: Driver, desk: ModelDesk) -> None:
        """Nobody spins on what its limit keeps back."""
        driver.add_many(2)
        limit_model(desk, MODEL, 1, actor="ann")
        driver.claim()
        assert driver.jobs.find_next_due(LaneName.SUBMIT, window=make_window(slots={"*": 5})) is None

    def test_it_is_shown_whose_limit_holds(self, driver: Driver, desk: ModelDesk) -> None:
        """The settings' limit, and the operator's over it; what is in use is counted as claims count it."""
        driver.add_many(3)
        assert (shown(desk)["limit"], shown(desk)["limit_from"]) == (5, "settings")
        limit_model(desk, MODEL, 2, actor="ann")
        row = driver.claim()[0]
        driver.report(row, TaskAccepted("t1"))
        now = shown(desk)
        assert (now["limit"], now["limit_from"], now["in_use"]) == (2, "operator", 2)
        assert (now["queued"], now["processing"], now["kind"]) == (1, 1, "video")
        assert shown(desk, "cogview-4-250304")["in_use"] == 0

    def test_more_in_flight_than_may_be_is_explained(self, driver: Driver, desk: ModelDesk) -> None:
        """After a limit was lowered; the number that it names is what has to end before the next submission."""
        driver.add_many(5)
        claimed = driver.claim(slots={"*": 3})
        limit_model(desk, MODEL, 2, actor="ann")
        row = shown(desk)
        words = tell_excess(3, 2)
        assert (row["in_use"], row["limit"]) == (3, 2)
        assert words == "over the limit: nothing is submitted until 2 of these 3 have ended"
        driver.report(claimed[0], Rejected("1214", "no"))
        assert driver.claim(slots={"*": 3}) == ()
        driver.report(claimed[1], Rejected("1214", "no"))
        assert len(driver.claim(slots={"*": 3})) == 1
        assert (tell_excess(2, 2), tell_excess(0, 1)) == (None, None)

    def test_a_misspelled_model_is_refused(self, driver: Driver, desk: ModelDesk) -> None:
        """It would be believed and do nothing; a model that no kind lists but jobs name is steered."""
        with pytest.raises(NotFound) as caught:
            limit_model(desk, "cogvideox-33", 1, actor="ann")
        assert "did you mean cogvideox-3?" in (caught.value.hint or "")
        driver.add_many(1, model="unlisted-1")
        limit_model(desk, "unlisted-1", 1, actor="ann")
        assert shown(desk, "unlisted-1")["limit"] == 1


class TestPauses:
    """A pause by hand lasts until a person ends it; what is paid for goes on."""

    def test_nothing_is_submitted_until_it_is_resumed(self, driver: Driver, desk: ModelDesk) -> None:
        """However long it takes; nobody spins meanwhile, and the job says why it waits."""
        (job_id,) = driver.add_many(1)
        pause_model(desk, MODEL, actor="ann", reason="bad pictures")
        driver.clock.advance(timedelta(days=400))
        assert driver.claim() == ()
        assert driver.jobs.find_next_due(LaneName.SUBMIT, window=make_window()) == UNTIL_RESUMED
        assert (shown(desk)["is_paused"], shown(desk)["pause_message"]) == (True, "by ann: bad pictures")
        assert resume_model(desk, MODEL, actor="ann")
        assert not resume_model(desk, MODEL, actor="ann")
        assert [row.job.id for row in driver.claim()] == [job_id]

    def test_the_job_says_who_paused_it(self, driver: Driver, desk: ModelDesk) -> None:
        """Not that submissions go on in eight thousand years."""
        (job_id,) = driver.add_many(1)
        pause_model(desk, MODEL, actor="ann", reason="bad pictures")
        hold = SqlProgress(driver.database).find_hold(job_id)
        words = describe(driver.get(job_id), now=driver.clock.now(), hold=hold)
        assert (
            words == f"model {MODEL} is paused by ann: bad pictures; `orchestrator models resume {MODEL}` lets it go on"
        )

    def test_an_answer_of_the_provider_does_not_end_it(self, driver: Driver, desk: ModelDesk) -> None:
        """Neither a refusal, which would set a shorter pause, nor a success of what was in flight, probe or not."""
        driver.add_many(3)
        first, second = driver.claim(slots={"*": 2})
        pause_model(desk, MODEL, actor="ann", reason="")
        driver.report(first, ThrottledNow("1302", "too many"))
        driver.report(second, TaskAccepted("t1"))
        driver.clock.advance(HOUR)
        assert driver.claim(slots={"*": 9}) == ()
        (state,) = desk.models.list_models("default", is_held_until_final=True)
        assert (state.submit_pause_code, state.is_paused_by_hand) == (BY_HAND, True)

    def test_paid_tasks_are_asked_about(self, driver: Driver, desk: ModelDesk) -> None:
        """A pause is on submitting only."""
        job = driver.add_processing()
        pause_model(desk, MODEL, actor="ann", reason="")
        assert driver.hold(LaneName.POLL, job.id).id == job.id

    def test_resume_ends_a_pause_of_the_provider_too(self, driver: Driver, desk: ModelDesk) -> None:
        """A person may know better; the next answer may pause it again."""
        driver.add_many(2)
        row = driver.claim_one(slots={"*": 1})
        driver.report(row, ThrottledNow("1302", "too many"))
        assert driver.claim() == ()
        assert resume_model(desk, MODEL, actor="ann")
        assert len(driver.claim()) >= 1
