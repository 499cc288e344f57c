"""Requests that are taken in together: each gets its own answer, and a key makes one job also within one group."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api import schemas
from orchestrator.api.taking import LARGE_BYTES, Got, Wanted, check, is_plain, take_all, want
from orchestrator.domain.access import Principal, Role
from orchestrator.domain.errors import BudgetError, InvalidParams
from orchestrator.domain.ports import LaneName, SingleIntake, Taken
from orchestrator.services.intake import make_single
from tests.api.conftest import VIDEO, House

ANNA = Principal("0" * 16, "anna", "anna", Role.SUBMIT)
BOB = Principal("1" * 16, "bob", "bob", Role.SUBMIT)


def wanted(key: str | None = None, caller: Principal = ANNA, **changes: object) -> Wanted:
    return want(caller, schemas.JobRequest.model_validate({**VIDEO, **changes}), key)


def kept(house: House) -> dict[str, str]:
    """Return the owner of every job there is."""
    listed = house.client.get("/v1/jobs", headers=house.headers("admin")).json()["data"]
    return {job["id"]: house.app.history.get_job(job["id"]).owner for job in listed}


def test_each_gets_its_own_answer(each_house: House) -> None:
    """What is wrong with one is told to that one; the others' jobs are there, each its owner's, and the lane hears once."""
    desk = each_house.api.state.desk
    asked = [wanted(), wanted(body={"prompt": ""}), wanted(caller=BOB), wanted(max_cost="0.000001")]
    first, bad, second, dear = take_all(desk, asked)
    assert isinstance(first, Got)
    assert isinstance(second, Got)
    assert (type(bad), type(dear)) == (InvalidParams, BudgetError)
    assert kept(each_house) == {first.taken.job_id: "anna", second.taken.job_id: "bob"}
    assert each_house.woken.lanes == [LaneName.SUBMIT]


def test_a_key_that_comes_twice_at_once_makes_one_job(each_house: House) -> None:
    """A19: neither was known when it came; the same words are given the same job, others are refused, another owner has keys
    of its own.
    """
    desk = each_house.api.state.desk
    asked = [wanted("k"), wanted("k"), wanted("k", priority=1), wanted("k", caller=BOB)]
    first, same, other, bobs = take_all(desk, asked)
    assert isinstance(first, Got)
    assert isinstance(same, Got)
    assert isinstance(bobs, Got)
    assert (first.taken.is_new, same.taken.is_new, same.job) == (True, False, None)
    assert same.taken.job_id == first.taken.job_id
    assert isinstance(other, InvalidParams)
    assert other.faults[0].code == "idempotency_key_reused"
    assert kept(each_house) == {first.taken.job_id: "anna", bobs.taken.job_id: "bob"}


def test_nobody_is_woken_for_what_was_known(house: House) -> None:
    """A repeat makes no work."""
    desk = house.api.state.desk
    take_all(desk, [wanted("k")])
    house.woken.lanes.clear()
    (again,) = take_all(desk, [wanted("k")])
    assert isinstance(again, Got)
    assert (again.job, house.woken.lanes) == (None, [])


def test_who_takes_long_goes_alone(house: House) -> None:
    """To read and store an input takes a while, and so do many words: nobody is to wait for somebody else's."""
    desk = house.api.state.desk

    def has_company(byte_count: int = 100, **changes: object) -> bool:
        return is_plain(desk, schemas.JobRequest.model_validate({**VIDEO, **changes}), byte_count)

    assert has_company()
    assert has_company(kind="nonsense")
    assert not has_company(body={"prompt": "a kite", "image_url": "file_1"})
    assert not has_company(kind="transcription", body={"file": "file_1"})
    assert has_company(LARGE_BYTES)
    assert not has_company(LARGE_BYTES + 1)


def test_a_long_request_is_looked_at_in_a_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for its key: on the event loop everybody would stand still meanwhile. The same key is the same job."""
    groups: list[int] = []
    together = house.api.state.take_together

    async def count(asked: Wanted) -> Got:
        groups.append(1)
        got: Got = await together(asked)
        return got

    monkeypatch.setattr(house.api.state, "take_together", count)
    headers = {**house.headers(), "Idempotency-Key": "k", "Content-Type": "application/json"}
    long = json.dumps(VIDEO) + " " * LARGE_BYTES
    ids = [
        house.client.post("/v1/jobs", headers=headers, content=text).json()["id"] for text in (long, json.dumps(VIDEO))
    ]
    assert (len(set(ids)), len(groups)) == (1, 1)


@pytest.mark.parametrize("keys", [("k",), (None,), ("k", None)])
def test_what_a_lost_commit_has_written_is_found(each_house: House, keys: tuple[str | None, ...]) -> None:
    """C2: to be told that it was not done, its caller would ask for it again, and pay twice."""
    desk = each_house.api.state.desk
    checked, taker = check(desk, ANNA, wanted().body), desk.taker(ANNA)
    asked = [make_single(checked, taker, repeat=wanted(key).repeat) for key in keys]
    written = desk.app.single_intakes.take_all(asked)
    assert desk.app.single_intakes.take_all(asked) == written
    assert kept(each_house) == {single.job.id: "anna" for single in asked}


def test_what_the_database_cannot_hold_is_its_own_trouble(each_house: House) -> None:
    """Whatever is raised for one of a group, by the server or by a driver before it asks, the others are taken in."""
    desk = each_house.api.state.desk

    def single(**changes: Any) -> SingleIntake:  # noqa: ANN401 - fields of a job
        made = make_single(check(desk, ANNA, wanted().body), desk.taker(ANNA))
        return replace(made, job=replace(made.job, **changes))

    asked = [single(), single(priority=2**70), single()]
    first, bad, last = desk.app.single_intakes.take_all(asked)
    assert isinstance(bad, Exception)
    assert kept(each_house) == {asked[0].job.id: "anna", asked[2].job.id: "anna"}
    assert [one.job_id for one in (first, last) if isinstance(one, Taken)] == [asked[0].job.id, asked[2].job.id]
