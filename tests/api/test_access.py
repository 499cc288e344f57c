"""Who may ask for what: every route, every role, every way for a key to be no good."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from inspect import getsource

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from orchestrator.api.auth import Needs
from orchestrator.domain import access
from orchestrator.domain.access import CAPABILITIES, Capability, Role
from orchestrator.domain.query import Filter
from orchestrator.services.access import revoke_key
from tests.api.conftest import House

OPEN = {"/", "/healthz", "/readyz", "/docs", "/console"}
"""Routes that need no key: they tell nothing that belongs to anybody."""
OUTSIDE = {"/openapi.json", "/console"}
LISTS = ("/v1/jobs", "/v1/batches", "/v1/webhook_endpoints", "/v1/webhook_deliveries", "/v1/usage")
BODIES = {
    "attach": {"task_id": "t"},
    "budget": {"max_cost": 1},
    "resubmit": {"may_charge": True},
    "retry": {"may_charge": True},
}
HOOK = "https://hooks.example.com/media"


def walk(dependant: Dependant) -> Iterator[Needs]:
    for each in dependant.dependencies:
        if isinstance(each.call, Needs):
            yield each.call
        yield from walk(each)


def routes(house: House) -> dict[tuple[str, str], Capability | None]:
    """Return every route of the application with the capability that it needs, however it got there."""
    found: dict[tuple[str, str], Capability | None] = {}
    for path, methods in house.api.openapi()["paths"].items():
        for method in methods:
            found[method.upper(), path] = None
    waiting = list(house.api.routes)
    for route in waiting:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        if isinstance(route, APIRoute):
            needs = [one.capability for one in walk(route.dependant)]
            assert len(needs) <= 1, route.path
            found |= {(method, route.path): needs[0] if needs else None for method in route.methods or ()}
        elif inner is None:
            assert getattr(route, "path", None) in OUTSIDE, route
    return found


def fill(path: str) -> str:
    return path.replace("{job_id}", "job_x").replace("{batch_id}", "batch_x").replace("{", "").replace("}", "")


def test_every_route_is_guarded(house: House) -> None:
    """I1: a route that names no capability is one of the few that are open, so a new one cannot be forgotten."""
    named = routes(house)
    assert {path for (_, path), capability in named.items() if capability is None} == OPEN
    assert len(named) > 25


@pytest.mark.parametrize("kind", ["none", "wrong", "expired", "revoked", "foreign", "malformed", "basic"])
def test_no_route_takes_a_key_that_is_no_good(house: House, kind: str) -> None:
    """I1: 401 on every route, with the same words whatever is wrong."""
    good = house.key("admin")
    key_id = good.split("_")[1]
    if kind == "revoked":
        revoke_key(house.app.keys, key_id, actor="local")
    expired = house.key("admin", life=timedelta(microseconds=1))
    keys = {
        "wrong": f"Bearer ok_{key_id}_{'A' * 43}",
        "expired": f"Bearer {expired}",
        "revoked": f"Bearer {good}",
        "foreign": f"Bearer ok_{'0' * 16}_{good.split('_', 2)[2]}",
        "malformed": "Bearer x",
        "basic": "Basic YTpi",
    }
    headers = {} if kind == "none" else {"Authorization": keys[kind]}
    words = set()
    for (method, path), capability in routes(house).items():
        if capability is not None:
            answer = house.client.request(method, fill(path), headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            words.add((answer.json()["error"]["code"], answer.json()["error"]["message"]))
    assert len(words) == 1


@pytest.mark.parametrize(
    ("role", "owner"),
    [(role, owner) for role in Role for owner in ("studio", "*") if (role, owner) != (Role.SUBMIT, "*")],
)
def test_no_route_does_more_than_the_role_allows(house: House, role: Role, owner: str) -> None:
    """I1: 403 exactly where the table says no; figures and models of every owner are for keys that see all of them."""
    headers = house.headers(role, owner)
    for (method, path), capability in routes(house).items():
        if capability is None:
            continue
        may = capability in CAPABILITIES[role]
        if capability in (Capability.MEASURE, Capability.STEER) and owner != "*" and role is not Role.ADMIN:
            may = False
        status = house.client.request(method, fill(path), headers=headers).status_code
        assert (status == 403) is (not may), (method, path, status)
        assert status != 401


def test_the_table_of_roles() -> None:
    """Spending is not for viewers, deciding not for submitters, keys only for administrators."""
    may: Mapping[Role, frozenset[Capability]] = CAPABILITIES
    assert Capability.CREATE not in may[Role.VIEWER]
    for_operators = {Capability.DECIDE, Capability.SUBSCRIBE, Capability.STEER}
    assert not for_operators & (may[Role.SUBMIT] | may[Role.VIEWER])
    assert for_operators <= may[Role.OPERATOR]
    assert [role for role in Role if Capability.ADMINISTER in may[role]] == [Role.ADMIN]
    assert may[Role.SUBMIT] < may[Role.OPERATOR] < may[Role.ADMIN]
    assert may[Role.VIEWER] < may[Role.OPERATOR]


def test_a_secret_is_compared_in_constant_time(house: House) -> None:
    """I2: by digest with hmac.compare_digest, also when there is no such key; nothing returns before."""
    assert "compare_digest" in getsource(access.is_same)
    assert access.is_same("a" * 64, "a" * 64) is hmac.compare_digest("a" * 64, "a" * 64)
    kept = house.app.keys.find(house.key().split("_")[1])[0]
    assert kept is not None
    assert len(kept.secret_hmac) == 64
    assert kept.secret_hmac not in house.client.get("/v1/keys", headers=house.headers("admin")).text


def test_the_digest_depends_on_the_servers_key() -> None:
    """A stolen table alone proves nobody's key."""
    one, other = (access.hash_secret("id", "secret", key) for key in (b"one", b"other"))
    assert one != other
    assert one != access.hash_secret("id2", "secret", b"one")


def test_another_owners_things_do_not_exist(house: House) -> None:
    """I10: 404 in the words of what is not there, on every route that names a thing; lists leave them out."""
    mine, theirs = house.headers(owner="a"), house.headers(owner="b")
    job = house.make_job(mine)
    hook = house.client.post("/v1/webhook_endpoints", headers=mine, json={"url": HOOK}).json()
    sent = house.client.post(f"/v1/webhook_endpoints/{hook['id']}/test", headers=mine).json()
    ids = {"job_id": job["id"], "batch_id": job["batch_id"], "endpoint_id": hook["id"], "delivery_id": sent["id"]}
    for (method, path), capability in routes(house).items():
        if not any(f"{{{name}}}" in path for name in ids):
            continue
        assert capability is not None
        url = path.format(**ids)
        body = {"PATCH": {"enabled": False}, "POST": BODIES.get(path.rpartition("/")[2], {})}.get(method)
        answer = house.client.request(method, url, headers=theirs, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    lists = [house.client.get(path, headers=theirs).json()["data"] for path in LISTS]
    assert lists == [[], [], [], [], []]
    assert house.client.get(f"/v1/webhook_deliveries?endpoint={hook['id']}", headers=theirs).status_code == 404
    assert house.client.get(f"/v1/jobs/{job['id']}", headers=mine).json()["status"] == "queued"
    own = ("key.create", "job.create", "webhook_endpoint.create", "webhook_endpoint.test")
    assert [action for action, *_ in house.audit() if action not in own] == []


def test_nothing_has_a_nul_in_its_address(each_house: House) -> None:
    """404 on every route, whatever its database makes of such a text; an endpoint to look for is refused as none."""
    headers = each_house.headers("admin")
    for method, path in routes(each_house):
        if "{" in path:
            answer = each_house.client.request(method, re.sub(r"\{\w+\}", "a%00b", path), headers=headers, json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (method, path)
    assert each_house.client.get("/v1/webhook_deliveries?endpoint=%00", headers=headers).status_code == 422


def test_who_sees_everything(house: House) -> None:
    """Administrators, and keys whose owner is *; what such a key creates belongs to local."""
    job = house.make_job(house.headers(owner="a"))
    for headers in (house.headers("admin", "x"), house.headers("viewer", "*")):
        assert house.client.get(f"/v1/jobs/{job['id']}", headers=headers).status_code == 200
        assert len(house.client.get("/v1/jobs", headers=headers).json()["data"]) == 1
    made = house.make_job(house.headers("operator", "*"))
    assert house.app.history.get_job(made["id"]).owner == "local"


def test_owners_do_not_share_files_jobs_or_keys(house: House) -> None:
    """Equal files, equal lines and equal idempotency keys of two owners are two batches, two jobs, two requests."""
    line = '{"custom_id":"one","kind":"video","body":{"model":"cogvideox-3","prompt":"a kite"}}\n'
    made = []
    for owner in ("a", "b"):
        headers = house.headers(owner=owner) | {"Content-Type": "application/x-ndjson"}
        made.append(house.client.post("/v1/batches", headers=headers, content=line).json())
    assert made[0]["id"] != made[1]["id"]
    assert [batch["job_counts"]["total"] for batch in made] == [1, 1]
    assert len(list(house.app.history.iter_jobs(Filter()))) == 2
    same = [house.make_job(house.headers(owner=owner), custom_id="two")["id"] for owner in ("a", "b")]
    assert len(set(same)) == 2


def test_a_key_is_made_listed_and_revoked_over_http(house: House) -> None:
    """Shown once; its revocation holds from its next request on; both stand in the audit log with actor and reason."""
    admin = house.headers("admin")
    made = house.client.post("/v1/keys", headers=admin, json={"name": "anna", "role": "viewer", "reason": "new"})
    assert made.status_code == 201
    key = made.json()
    theirs = {"Authorization": f"Bearer {key['key']}"}
    assert house.client.get("/v1/jobs", headers=theirs).status_code == 200
    listed = house.client.get("/v1/keys", headers=admin).json()["data"]
    assert key["id"] in [row["id"] for row in listed]
    assert all("key" not in row for row in listed)
    assert house.client.delete(f"/v1/keys/{key['id']}", headers=admin).json()["revoked_at"]
    assert house.client.get("/v1/jobs", headers=theirs).status_code == 401
    log = house.client.get("/v1/audit_log", headers=admin).json()["data"]
    assert [(row["action"], row["subject"]) for row in log[:2]] == [
        ("key.revoke", key["id"]),
        ("key.create", key["id"]),
    ]
    assert log[1]["reason"] == "new"
    assert log[0]["actor"].startswith("key:")


@pytest.mark.parametrize(
    "body",
    [{"name": "x", "role": "root"}, {"name": "", "role": "viewer"}, {"name": "a", "role": "submit", "owner": "*"}],
)
def test_keys_that_nobody_gets(house: House, body: dict[str, str]) -> None:
    """No such role, no such name, nobody who creates for everybody."""
    answer = house.client.post("/v1/keys", headers=house.headers("admin"), json=body)
    assert answer.status_code == 422, answer.text
