"""Requests that are taken in together: each gets its own answer, and a key makes one job also within one group."""

from __future__ import annotations

from orchestrator.api import schemas
from orchestrator.api.taking import Got, Wanted, is_plain, take_all, want
from orchestrator.domain.access import Principal, Role
from orchestrator.domain.errors import BudgetError, InvalidParams
from orchestrator.domain.ports import LaneName
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


def test_who_has_inputs_goes_alone(house: House) -> None:
    """To read and store an input takes a while: nobody is to wait for somebody else's."""
    desk = house.api.state.desk
    assert is_plain(desk, wanted())
    assert is_plain(desk, wanted(kind="nonsense"))
    assert not is_plain(desk, wanted(body={"prompt": "a kite", "image_url": "file_1"}))
    assert not is_plain(desk, wanted(kind="transcription", body={"file": "file_1"}))
