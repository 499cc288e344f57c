"""Webhook endpoints and deliveries over HTTP: whose they are, what is written down, and secrets that are shown once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState
from tests.api.conftest import VIDEO, Headers, House

URL = "https://hooks.example.com/media?token=canary"
ENDPOINTS = "/v1/webhook_endpoints"
DELIVERIES = "/v1/webhook_deliveries"


def add(house: House, headers: Headers, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = house.client.post(ENDPOINTS, headers=headers, json={"url": URL, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def give_up(house: House, headers: Headers, endpoint_id: str) -> str:
    """Let a test event be cancelled by disabling its endpoint; return the delivery's id."""
    sent = house.client.post(f"{ENDPOINTS}/{endpoint_id}/test", headers=headers).json()
    for enabled in (False, True):
        path = f"{ENDPOINTS}/{endpoint_id}"
        assert house.client.patch(path, headers=headers, json={"enabled": enabled}).status_code == 200
    return str(sent["id"])


def test_a_secret_is_shown_once(house: House) -> None:
    """When it is made and when it is changed, and never in a list, the endpoint itself or the audit log."""
    headers = house.headers()
    made = add(house, headers, events=["job.failed"])
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["job.failed"]
    path = f"{ENDPOINTS}/{made['id']}"
    changed = house.client.post(f"{path}/rotate", headers=headers, json={"overlap_seconds": 60}).json()
    assert changed["secret"].startswith("whsec_")
    assert changed["secret"] != made["secret"]
    assert changed["previous_secret_until"] is not None
    for place in (path, ENDPOINTS):
        text = house.client.get(place, headers=headers).text
        assert "whsec_" not in text
    log = house.client.get("/v1/audit_log", headers=house.headers("admin")).text
    assert "whsec_" not in log
    assert "canary" not in log


def test_what_is_done_to_an_endpoint(house: House) -> None:
    """Disabled with its reason, enabled, deleted; each stands in the audit log with who asked and why."""
    headers = house.headers()
    path = f"{ENDPOINTS}/{add(house, headers)['id']}"
    off = house.client.patch(path, headers=headers, json={"enabled": False, "reason": "it moves"}).json()
    assert (off["status"], off["disabled_reason"]) == ("disabled", "it moves")
    refused = house.client.post(f"{path}/test", headers=headers)
    assert refused.status_code == 409
    assert refused.json()["error"]["hint"] is None
    assert house.client.patch(path, headers=headers, json={"enabled": True}).json()["status"] == "enabled"
    assert house.client.delete(path, headers=headers).status_code == 200
    assert house.client.get(ENDPOINTS, headers=headers).json()["data"] == []
    assert house.client.delete(path, headers=headers).status_code in (404, 409)
    entries = [entry for entry in house.app.audit_log.list_entries(limit=100) if entry.action.startswith("webhook")]
    actions = [(entry.action.partition(".")[2], entry.reason) for entry in reversed(entries)]
    assert actions[:5] == [("create", ""), ("disable", "it moves"), ("test", ""), ("enable", ""), ("delete", "")]
    assert {entry.owner for entry in entries} == {"studio"}


def test_a_test_is_sent_and_looked_up(each_house: House) -> None:
    """202 with the delivery and its place; the lane that sends is told; the list has it."""
    house, headers = each_house, each_house.headers()
    made = add(house, headers)
    answer = house.client.post(f"{ENDPOINTS}/{made['id']}/test", headers=headers)
    assert (answer.status_code, answer.json()["type"], answer.json()["status"]) == (202, "webhook.test", "pending")
    assert LaneName.DELIVER in house.woken.lanes
    place = answer.headers["location"]
    assert house.client.get(place, headers=headers).json() == answer.json()
    assert house.client.get(DELIVERIES, headers=headers).json()["data"] == [answer.json()]
    assert house.client.get(f"{DELIVERIES}?failed=true", headers=headers).json()["data"] == []


def test_what_was_given_up_is_sent_again_to_its_owner_only(each_house: House) -> None:
    """By one id, and all since a time; what belongs to others stays as it is."""
    house = each_house
    mine, theirs = house.headers(owner="a"), house.headers(owner="b")
    one = give_up(house, mine, add(house, mine)["id"])
    other = give_up(house, theirs, add(house, theirs)["id"])
    since = {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    answer = house.client.post(f"{DELIVERIES}/resend", headers=mine, json=since)
    assert (answer.status_code, answer.json()) == (202, {"object": "resent", "count": 1})
    (line,) = [entry for entry in house.app.audit_log.list_entries(limit=100) if entry.subject == "failed"]
    assert (line.action, line.owner, line.count) == ("webhook_delivery.resend", "a", 1)
    states = {each: house.app.endpoints.get_delivery(each).state for each in (one, other)}
    assert states == {one: DeliveryState.PENDING, other: DeliveryState.CANCELLED}
    again = house.client.post(f"{DELIVERIES}/{other}/resend", headers=theirs)
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert (
        house.client.post(f"{DELIVERIES}/resend", headers=mine, json={"since": "2026-11-24T09:30:00"}).status_code
        == 422
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://169.254.169.254/latest", "ftp://example.com/", "x"])
def test_no_url_leads_inside(house: House, url: str) -> None:
    """I5: as an endpoint, as the webhook of a job, and as that of a batch."""
    headers = house.headers()
    line = '{"custom_id":"one","kind":"video","body":{"model":"cogvideox-3","prompt":"a kite"}}\n'
    batch = headers | {"Content-Type": "application/x-ndjson"}
    answers = [
        house.client.post(ENDPOINTS, headers=headers, json={"url": url}),
        house.client.post("/v1/jobs", headers=headers, json={**VIDEO, "webhook": url}),
        house.client.post("/v1/batches", headers=batch, content=line, params={"webhook": url}),
    ]
    assert all(answer.status_code in (400, 422) for answer in answers), [answer.text for answer in answers]
    assert house.client.get("/v1/jobs", headers=headers).json()["data"] == []


def test_a_webhook_of_a_job_or_a_batch_belongs_to_its_owner(each_house: House) -> None:
    """Named with the request, in the same transaction as the job."""
    house, headers = each_house, each_house.headers()
    house.make_job(headers, webhook="https://hooks.example.com/job")
    line = '{"custom_id":"one","kind":"video","body":{"model":"cogvideox-3","prompt":"a kite"}}\n'
    batch = headers | {"Content-Type": "application/x-ndjson"}
    params = {"webhook": "https://hooks.example.com/batch"}
    assert house.client.post("/v1/batches", headers=batch, content=line, params=params).status_code == 202
    found = house.app.endpoints.list_all(owner="studio")
    assert sorted(endpoint.url.rpartition("/")[2] for endpoint in found) == ["batch", "job"]
    assert not any(endpoint.is_global for endpoint in found)
