"""Who may see and do what in the console: every route, every role, every way to come without a right."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from orchestrator.console import session as sessions
from orchestrator.console.guard import Acts, Looks
from orchestrator.domain.access import CAPABILITIES, Capability, Role
from orchestrator.services.access import revoke_key
from tests.api.conftest import SERVER_KEY
from tests.console.conftest import ORIGIN, Console

OPEN = {("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), ("GET", "/static/{name}")}
"""What nobody is logged in for; a logout looks at its own session and token."""


def walk(dependant: Dependant) -> Iterator[Looks | Acts]:
    for each in dependant.dependencies:
        if isinstance(each.call, Looks | Acts):
            yield each.call
        yield from walk(each)


def routes(console: Console) -> dict[tuple[str, str], Looks | Acts | None]:
    """Return every route below /console with what guards it."""
    mounted: Any = next(route for route in console.house.api.routes if getattr(route, "name", "") == "console")
    found: dict[tuple[str, str], Looks | Acts | None] = {}
    waiting = list(mounted.app.routes)
    for route in waiting:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        if isinstance(route, APIRoute):
            guards = list(walk(route.dependant))
            assert len(guards) <= 1, route.path
            found |= {(method, route.path): guards[0] if guards else None for method in route.methods or ()}
        else:
            assert inner is not None, route
    return found


def fill(path: str) -> str:
    filled = path.replace("{job_id}", "job_x").replace("{batch_id}", "batch_x").replace("{action}", "retry")
    return filled.replace("{", "").replace("}", "")


def guarded(console: Console, method: str) -> list[tuple[str, Capability]]:
    return [(fill(path), guard.capability) for (m, path), guard in routes(console).items() if guard and m == method]


def test_every_route_is_guarded(console: Console) -> None:
    """A page without a guard is one of the few that are open, and whatever changes something looks at origin and token."""
    found = routes(console)
    assert {route for route, guard in found.items() if guard is None} == OPEN
    assert {method for method, _ in found} == {"GET", "POST"}
    acts = {route for route, guard in found.items() if isinstance(guard, Acts)}
    assert acts == {route for route in found if route[0] == "POST"} - OPEN
    assert len(found) > 35


def test_a_stranger_is_led_to_the_login(console: Console) -> None:
    """Pages by a redirect that remembers them, parts of pages by a header, whatever changes something by 401."""
    stranger = console.stranger()
    for path, _ in guarded(console, "GET"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/login"), path
        part = stranger.get(path, **{"HX-Request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/console/login")
    for path, _ in guarded(console, "POST"):
        assert stranger.post(path).status_code == 401, path


@pytest.mark.parametrize("role", list(Role))
def test_a_role_sees_and_does_what_the_api_lets_it(console: Console, role: Role) -> None:
    """403 for what its capabilities leave out, on pages and on forms; never 403 for what they hold."""
    person = console.person(role)
    for path, capability in guarded(console, "GET"):
        status = person.get(path).status_code
        assert (status == 403) is (capability not in CAPABILITIES[role]), (path, status)
        assert status < 500
    for path, capability in guarded(console, "POST"):
        status = person.post(path, may_charge="false", key_id="x").status_code
        is_refused = capability not in CAPABILITIES[role]
        if is_refused:
            assert status == 403, (path, status)
        else:
            assert status not in (401, 403) or path.startswith("/models/"), (path, status)
            assert status < 500, (path, status)


def test_the_printed_address_leads_to_the_console(console: Console) -> None:
    """`up` prints an address; whoever opens it in a browser is not met by an error."""
    answer = console.stranger().client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")


def test_no_form_works_from_elsewhere(console: Console) -> None:
    """I7: 403 for another site's Origin, for none, for `null`, and for a token that is not of the session; nothing is done."""
    admin, other = console.person("admin"), console.person("admin")
    job = console.driver.add_held()
    for path, _ in [*guarded(console, "POST"), (f"/jobs/{job.id}/write_off", Capability.DECIDE)]:
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://testserver.evil"},
        ):
            answer = admin.client.post(f"/console{path}", data={"csrf": admin.csrf}, headers=headers)
            assert answer.status_code == 403, (path, headers)
        for token in ("", other.csrf, "0" * 64):
            answer = admin.client.post(f"/console{path}", data={"csrf": token}, headers=ORIGIN)
            assert answer.status_code == 403, (path, token)
    assert console.driver.state(job.id) == "needs_review"
    assert {action for action, *_ in console.house.audit()} == {"key.create"}


def test_a_token_in_a_header_is_as_good(console: Console) -> None:
    """What htmx sends: the header instead of the field."""
    person, job = console.person(), console.driver.add_held()
    headers = {**ORIGIN, "X-CSRF-Token": person.csrf}
    answer = person.client.post(f"/console/jobs/{job.id}/write_off", headers=headers)
    assert (answer.status_code, console.driver.state(job.id)) == (303, "failed")


def test_the_cookie_is_a_session_and_no_key(console: Console) -> None:
    """HttpOnly, SameSite=Strict, for the console only; the key's secret is not in it."""
    key = console.house.key("admin", "local")
    answer = console.stranger().log_in(key)
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= {part.strip() for part in cookie.split(";")}
    assert key.split("_", 2)[2] not in cookie
    assert "Secure" not in cookie  # plain HTTP on loopback


def test_a_session_ends_with_its_key(console: Console) -> None:
    """Revoking the key ends every login by it at the next click."""
    key = console.house.key("admin", "local")
    person = console.person(key=key)
    assert person.get("/jobs").status_code == 200
    revoke_key(console.house.app.keys, key.split("_")[1], actor="local")
    assert person.get("/jobs").status_code == 303


def test_a_session_ends_in_time(console: Console) -> None:
    """Twelve hours after the login the signed value is worth nothing; nor is one that was changed, or signed elsewhere."""
    app = console.house.app
    key_id = console.house.key("admin", "local").split("_")[1]
    now = app.clock.now()

    def visit(value: str) -> int:
        person = console.stranger()
        person.client.cookies.set(sessions.COOKIE, value, path="/console")
        return person.get("/jobs").status_code

    fresh = sessions.begin_session(key_id, now=now, rng=app.rng)
    old = sessions.begin_session(key_id, now=now - sessions.LIFE - timedelta(seconds=1), rng=app.rng)
    good = sessions.seal(fresh, SERVER_KEY)
    assert visit(good) == 200
    assert visit(sessions.seal(old, SERVER_KEY)) == 303
    assert visit(sessions.seal(fresh, b"another installation's key")) == 303
    later = good.replace(f".{fresh.expires_at}.", f".{fresh.expires_at + 1}.")
    assert visit(later) == 303
    assert visit("") == 303
    assert visit(sessions.csrf_token(fresh, SERVER_KEY)) == 303


def test_logging_out(console: Console) -> None:
    """The cookie goes, and only by a form of the session itself."""
    person = console.person()
    stolen = person.client.post("/console/logout", data={"csrf": "0" * 64}, headers=ORIGIN)
    assert "set-cookie" not in stolen.headers
    assert person.post("/logout").headers["location"] == "/console/login"
    assert person.get("/jobs").status_code == 303


@pytest.mark.parametrize("key", ["", "nonsense", "ok_0123456789abcdef_" + "A" * 43])
def test_a_bad_key_opens_nothing(console: Console, key: str) -> None:
    """401 with the same words, no cookie, and the key is not shown again."""
    answer = console.stranger().log_in(key)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "unknown, revoked or expired" in answer.text
    assert not key or key not in answer.text


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("/console/jobs?q=status%3Afailed", "/console/jobs?q=status%3Afailed"),
        ("https://evil.example/", "/console/"),
        ("//evil.example/", "/console/"),
        ("/console//evil.example", "/console/"),
        ("/console/\\evil.example", "/console/"),
        ("/v1/keys", "/console/"),
        ("", "/console/"),
    ],
)
def test_a_login_leads_nowhere_else(console: Console, wanted: str, where: str) -> None:
    """Only to pages of the console."""
    answer = console.stranger().log_in(console.house.key(), next=wanted)
    assert answer.headers["location"] == where


def test_a_login_is_asked_for_on_a_page_of_ours(console: Console) -> None:
    """Another site cannot log anybody in."""
    stranger = console.stranger()
    answer = stranger.client.post(
        "/console/login", data={"key": console.house.key()}, headers={"Origin": "https://x.example"}
    )
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_what_is_anothers_is_not_there(console: Console) -> None:
    """404, in the words of what does not exist, and no trace in lists, counts and review."""
    job = console.driver.add_held(owner="other", custom_id="secret-scene", model="viduq1-text")
    person = console.person("operator", "studio")
    for path in (f"/jobs/{job.id}", f"/jobs/{job.id}/live", f"/batches/{job.batch_id}"):
        assert person.get(path).status_code == 404, path
    for action in ("cancel", "retry", "attach", "resubmit", "write_off"):
        assert person.post(f"/jobs/{job.id}/{action}", may_charge="true", task_id="t-1").status_code == 404, action
    for path in ("/", "/jobs", "/review", "/batches", "/usage"):
        page = person.get(path)
        assert (page.status_code, "secret-scene" in page.text, "viduq1-text</a>" in page.text) == (200, False, False), (
            path
        )
    assert "secret-scene" in console.person("viewer", "*").get("/jobs").text
    assert console.driver.state(job.id) == "needs_review"


def test_models_are_steered_by_who_sees_everybody(console: Console) -> None:
    """A limit is for all jobs: an operator of one owner gets 403."""
    assert console.person("operator", "studio").post("/models/cogvideox-3/pause").status_code == 403
    assert console.person("operator", "*").post("/models/cogvideox-3/pause").status_code == 303
