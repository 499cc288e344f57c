"""Reads: keyset pages, streams, and the query grammar on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import text

from orchestrator.db import history as history_module
from orchestrator.db.history import SqlHistory
from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import JOB, make_id
from orchestrator.domain.outcomes import Rejected, TaskAccepted
from orchestrator.domain.ports import Adoption
from orchestrator.domain.query import Filter, QueryTooSlow, parse_query
from tests.db.driver import Driver
from tests.factories import HOUR, make_batch, make_new_job
from tests.fixtures.clock import START

EVERY = Filter()


def find(driver: Driver, query: str) -> list[str]:
    """Return the ids that a query finds, newest first."""
    wanted = parse_query(query, now=driver.clock.now())
    return [job.id for job in driver.history.list_jobs(wanted, limit=100).jobs]


def test_pages_run_newest_first_without_gap_or_overlap(driver: Driver) -> None:
    """Keyset: the next page begins behind the last id, whatever was added meanwhile."""
    ids = driver.add_many(5)
    first = driver.history.list_jobs(EVERY, limit=2)
    driver.add_many(1)
    second = driver.history.list_jobs(EVERY, limit=2, after=first.jobs[-1].id)
    third = driver.history.list_jobs(EVERY, limit=2, after=second.jobs[-1].id)
    assert [job.id for page in (first, second, third) for job in page.jobs] == ids[::-1]
    assert [page.has_more for page in (first, second, third)] == [True, True, False]


def test_a_stream_goes_on_over_pages(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports read page by page; the length of a page changes nothing."""
    monkeypatch.setattr(history_module, "PAGE", 2)
    batch = driver.add(*(make_new_job() for _ in range(4)))
    ids = [member.job_id for member in driver.batches.list_members(batch.id)]
    assert [job.id for job in driver.history.iter_jobs(EVERY)] == ids[::-1]
    assert [job.id for job in driver.history.iter_members(batch.id)] == ids


def test_members_come_with_what_belongs_to_them(driver: Driver) -> None:
    """Results are written in input order for every end state, from these."""
    job = driver.add_succeeded()
    (member,) = driver.history.iter_members(job.batch_id or "")
    assert (len(member.submissions), len(member.outputs)) == (1, 1)
    assert list(driver.history.iter_members(job.batch_id or "", states=("failed",))) == []


def test_a_job_comes_whole(driver: Driver) -> None:
    """One read gives the job, its submissions and its outputs."""
    job = driver.add_succeeded()
    found, output = driver.history.get_output(job.outputs[0].id)
    assert (found, output) == (job, job.outputs[0])
    assert driver.history.list_jobs(EVERY).jobs[0].outputs == job.outputs


def test_what_is_not_there_is_not_found(driver: Driver) -> None:
    """A typing mistake is an answer, not an empty list."""
    with pytest.raises(NotFound):
        driver.history.get_job("job_none")
    with pytest.raises(NotFound):
        driver.history.get_output("out_none")
    assert driver.history.list_events("job_none") == []
    assert driver.history.list_submissions("job_none") == []


def test_states_are_counted(driver: Driver) -> None:
    """Counts answer the same filter as lists."""
    driver.add_succeeded()
    driver.add_many(2, kind="image", model="cogview-4")
    assert driver.history.count_jobs(EVERY) == {"succeeded": 1, "queued": 2}
    assert driver.history.count_jobs(parse_query("kind:image", now=START)) == {"queued": 2}


Finder = Callable[[str], list[str]]


class TestQueries:
    """Each field of the grammar, negated too; text of the user is never SQL."""

    @pytest.fixture
    def jobs(self, driver: Driver) -> dict[str, str]:
        """Give four unlike jobs by name."""
        kite = make_new_job(
            input={"prompt": "Ein ROTER Drache, 100% Äther"}, tags={"campaign": "spring"}, custom_id="Scene 1"
        )
        tagged = make_new_job(input={"prompt": "sea"}, tags={"campaign": "autumn", 'a"b': "x'y"}, price=None)
        driver.add(kite, tagged)
        driver.report(driver.claim_one(slots={"*": 1}), Rejected("1301", "sensitive"))
        driver.clock.advance(timedelta(days=10))
        made_at = make_id(JOB, now=driver.clock.now(), rng=Random(7))
        image = make_new_job(id=made_at, kind="image", model="cogview-4", input={"prompt": "100 percent"})
        driver.add(image)
        row = next(row for row in driver.claim() if row.job.id == image.id)
        driver.report(row, TaskAccepted("task-9"))
        return {"kite": kite.id, "tagged": tagged.id, "image": image.id}

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", {"kite", "tagged", "image"}),
            ("status:failed", {"kite"}),
            ("-status:failed", {"tagged", "image"}),
            ("status:processing,failed", {"kite", "image"}),
            ("kind:image", {"image"}),
            ("model:cogvideox-3 -status:failed", {"tagged"}),
            ('custom_id:"Scene 1"', {"kite"}),
            ("code:content_policy", {"kite"}),
            ("code:1301", {"kite"}),
            ("-code:1301", {"tagged", "image"}),
            ("task:task-9", {"image"}),
            ("-task:task-9", {"kite", "tagged"}),
            ("tag:campaign", {"kite", "tagged"}),
            ("tag:campaign=spring", {"kite"}),
            ("-tag:campaign=spring", {"tagged", "image"}),
            ('tag:a"\\""b=x\'y', {"tagged"}),
            ("created:>7d", {"image"}),
            ("created:<7d", {"kite", "tagged"}),
            ("finished:>30d", {"kite"}),
            ("-finished:>30d", {"tagged", "image"}),
            ("submitted:>7d", {"image"}),
            ("cost:>0.1", {"image"}),
            ("cost:0", {"kite"}),
            ("-cost:0", {"tagged", "image"}),
            ("roter", {"kite"}),
            ("100%", {"kite"}),
            ("-100%", {"tagged", "image"}),
            ('"\' OR 1=1 --"', set()),
            ("status:failed,submitting -code:1301", {"tagged"}),
            ("code:content_policy,1301", {"kite"}),
            ("model:cogvideox-3,cogview-4 status:active cost:>=0", {"image"}),
            ("cost:0..1", {"kite", "image"}),
            ("-cost:>0.1", {"kite", "tagged"}),
            ("-tag:campaign", {"image"}),
            ("-submitted:<1d", {"kite", "tagged", "image"}),
            ("100 percent", {"image"}),
            ('"100 percent"', {"image"}),
            ("perc -100%", {"image"}),
            ("drache 100%", {"kite"}),
            ("100_", set()),
            ('"100%"', {"kite"}),
            ("drache -roter", set()),
            ("-drache -percent", {"tagged"}),
            ("RoTeR -status:queued", {"kite"}),
        ],
    )
    def test_finds(self, driver: Driver, jobs: dict[str, str], query: str, names: set[str]) -> None:
        found = {name for name, job_id in jobs.items() if job_id in find(driver, query)}
        assert found == names

    def test_letters_beyond_ascii(self, driver: Driver, jobs: dict[str, str]) -> None:
        """Whatever the database's locale says: lower case is spelled here, once, for both."""
        assert find(driver, "äther") == find(driver, "ÄTHER") == [jobs["kite"]]

    def test_ids_and_batches(self, driver: Driver, jobs: dict[str, str]) -> None:
        """A batch means its members, linked ones included."""
        assert find(driver, f"id:{jobs['kite']}") == [jobs["kite"]]
        other = driver.add()
        driver.batches.link_existing(other.id, [(1, "x", jobs["image"])])
        assert find(driver, f"batch:{other.id}") == [jobs["image"]]
        assert jobs["image"] not in find(driver, f"-batch:{other.id}")


class TestWords:
    """Words of prompts: found wherever a job came from, as they are written, and not for longer than anybody waits."""

    def test_an_adopted_job_is_searched_too(self, driver: Driver) -> None:
        """Two places insert jobs; neither may forget what is looked up beside them."""
        new = make_new_job(input={"prompt": "A Zeppelin"}, tags={"a": "b"})
        adoption = Adoption(make_batch(), new, "task-1", HOUR, "ann", "found")
        driver.jobs.adopt(adoption)
        assert find(driver, "zeppelin") == find(driver, "tag:a=b") == [new.id]

    @pytest.mark.parametrize("sign", ['"', "%", "_", "\\", "'", "*", "^", "(", ":", "-", "\u00e9", "\u4e2d"])
    def test_no_sign_means_anything_but_itself(self, driver: Driver, sign: str) -> None:
        """Neither the wildcards of LIKE nor the operators of a full-text query."""
        held, other = make_new_job(input={"prompt": f"abc{sign}def"}), make_new_job(input={"prompt": "abcxdef"})
        driver.add(held, other)
        escaped = sign.replace("\\", r"\\").replace('"', r"\"")
        assert find(driver, f'"abc{escaped}def"') == [held.id]
        assert find(driver, f'"c{escaped}de"') == [held.id]
        assert find(driver, f'-"abc{escaped}def"') == [other.id]

    def test_words_that_operators_are_made_of(self, driver: Driver) -> None:
        """AND, OR, NOT and NEAR are words of prompts like others."""
        driver.add(held := make_new_job(input={"prompt": "near and not or"}), make_new_job(input={"prompt": "far"}))
        assert find(driver, "near and not") == [held.id]
        assert find(driver, "-near") != [held.id]

    @pytest.mark.postgres
    def test_a_slow_query_is_stopped_and_told(self, driver: Driver) -> None:
        """A caller's mistake, not a crash: the words say how to narrow it."""
        if driver.database.is_sqlite:
            return
        history = SqlHistory(driver.database, patience=timedelta(milliseconds=1))
        with driver.database.begin_write() as connection:
            connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(QueryTooSlow, match=r"stopped after 0\.001 s") as caught:
                history.list_jobs(EVERY)
            with pytest.raises(QueryTooSlow):
                history.count_jobs(EVERY)
            with pytest.raises(QueryTooSlow):
                list(history.iter_jobs(EVERY))
        assert "created:>7d" in (caught.value.hint or "")
        assert history.get_job(driver.add_many(1)[0]).id
