"""Usage, models and the order of lists over HTTP."""

from __future__ import annotations

import pytest

from orchestrator.db import history
from orchestrator.domain.ports import LaneName
from tests.api.conftest import House

MODEL = "cogvideox-3"
PATH = f"/v1/models/{MODEL}"


def test_usage_is_of_what_the_key_sees(each_house: House) -> None:
    """One's own jobs, grouped as asked; everybody's for a key that sees everybody."""
    house = each_house
    mine, theirs = house.headers(owner="a"), house.headers(owner="b")
    for _ in range(2):
        house.make_job(mine, tags={"campaign": "spring"})
    house.make_job(theirs)
    (row,) = house.client.get("/v1/usage?by=model&since=1d", headers=mine).json()["data"]
    assert (row["group"], row["jobs"], row["active"]) == (MODEL, 2, 2)
    (tagged,) = house.client.get("/v1/usage?by=tag", headers=mine).json()["data"]
    assert (tagged["group"], tagged["jobs"]) == ("campaign=spring", 2)
    (every,) = house.client.get("/v1/usage", headers=house.headers("viewer", "*")).json()["data"]
    assert every["jobs"] == 3
    wrong = house.client.get("/v1/usage?since=yesterdayish", headers=mine)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "since")


def test_a_model_is_limited_paused_and_resumed(each_house: House) -> None:
    """It holds for every process; the workers are told; each stands in the audit log with its reason."""
    house, headers = each_house, each_house.headers("operator", "*")
    limited = house.client.post(f"{PATH}/limit", headers=headers, json={"limit": 1, "reason": "a quiet day"}).json()
    assert (limited["limit"], limited["limit_from"]) == (1, "operator")
    assert LaneName.SUBMIT in house.woken.lanes
    paused = house.client.post(f"{PATH}/pause", headers=headers, json={"reason": "the account is checked"}).json()
    assert (paused["is_paused"], paused["pause_code"]) == (True, "paused_by_hand")
    resumed = house.client.post(f"{PATH}/resume", headers=headers).json()
    assert resumed["is_paused"] is False
    given_back = house.client.post(f"{PATH}/limit", headers=headers, json={"limit": None}).json()
    assert given_back["limit_from"] == "settings"
    actions = [action for action, subject, _ in house.audit() if subject == MODEL]
    assert actions == ["model.limit", "model.resume", "model.pause", "model.limit"]


def test_a_misspelled_model_is_not_steered(house: House) -> None:
    """404 with the nearest name, rather than a pause that does nothing."""
    answer = house.client.post("/v1/models/cogvideox-33/pause", headers=house.headers("admin"))
    assert answer.status_code == 404


def test_an_owner_does_not_learn_what_others_run(house: House) -> None:
    """What waits and runs of a model is told to keys that see every owner; limits and prices to all."""
    house.make_job(house.headers(owner="a"))
    for headers, queued in ((house.headers("submit", "b"), None), (house.headers("viewer", "*"), 1)):
        rows = {row["id"]: row for row in house.client.get("/v1/models", headers=headers).json()["data"]}
        assert rows[MODEL]["queued"] == queued
        assert rows[MODEL]["limit"] > 0
        assert rows[MODEL]["price"] is not None


@pytest.mark.parametrize(
    "query", ["", "kind:video", "model:cogvideox-3,other", "kite", "kite status:queued", "cost:>0"]
)
def test_pages_go_both_ways(each_house: House, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """`order=asc` gives the same jobs from the other end, page after page, each once; words too, near and far."""
    monkeypatch.setattr(history, "NEAR", 3)
    house, headers = each_house, each_house.headers()
    made = [house.make_job(headers)["id"] for _ in range(7)]
    found: list[str] = []
    after: str | None = None
    while True:
        params = {"q": query, "order": "asc", "limit": "3", **({"after": after} if after else {})}
        page = house.client.get("/v1/jobs", headers=headers, params=params).json()
        found += [job["id"] for job in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert found == sorted(made)
    newest = house.client.get("/v1/jobs", headers=headers, params={"q": query}).json()["data"]
    assert [job["id"] for job in newest] == sorted(made, reverse=True)
