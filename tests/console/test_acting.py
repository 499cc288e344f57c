"""What people do in the console: one job, many jobs, batches, models, webhooks, keys; and what the audit log says of it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator.console.routes.bulk import digest_of
from orchestrator.domain.ports import LaneName
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.services.bulk import BulkPlan
from orchestrator.services.webhooks import add_endpoint
from tests.console.conftest import Console


def hidden(page: str) -> Mapping[str, str]:
    """Return the hidden fields of the one form that a page's content has."""
    main = page[page.index("<main") :]
    return {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', main)
    }


def audit(console: Console) -> list[tuple[str, str, int]]:
    entries = console.house.app.audit_log.list_entries(limit=100)
    return [(one.action, one.reason, one.count) for one in entries if one.action != "key.create"]


class TestOneJob:
    """The buttons of a job's page."""

    def test_cancel(self, console: Console) -> None:
        """Back to the page with what was done; the reason is in history and audit log; twice is told as a conflict."""
        (job_id,) = console.driver.add_many(1)
        person = console.person("submit")
        assert "What you can do" in person.get(f"/jobs/{job_id}").text
        answer = person.post(f"/jobs/{job_id}/cancel", reason="changed my mind")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console/jobs/{job_id}?done=cancel")
        page = person.get(f"/jobs/{job_id}?done=cancel").text
        assert "changed my mind" in page
        assert 'role="status"' in page
        assert audit(console) == [("job.cancel", "changed my mind", 1)]
        again = person.post(f"/jobs/{job_id}/cancel")
        assert (again.status_code, "Not as it stands now" in again.text) == (409, True)

    def test_a_new_charge_is_agreed_to(self, console: Console) -> None:
        """A held job is paid for again only where the box was ticked; 422 without."""
        job = console.driver.add_held()
        person = console.person()
        assert person.post(f"/jobs/{job.id}/resubmit").status_code == 422
        assert console.driver.state(job.id) == "needs_review"

    def test_write_off_from_the_queue(self, console: Console) -> None:
        """The review page takes one back to itself, and has one job less."""
        job = console.driver.add_held(custom_id="left-over")
        person = console.person()
        queue = person.get("/review").text
        assert "left-over" in queue
        assert "that may have been charged" in queue
        answer = person.post(f"/jobs/{job.id}/write_off", back="review", reason="not worth it")
        assert answer.headers["location"] == "/console/review?done=write_off"
        assert "left-over" not in person.get("/review").text

    def test_retry(self, console: Console) -> None:
        """Without agreement 409 and nothing moves; with it the job is queued and the lanes are told."""
        job = console.add_failed()
        person = console.person()
        assert "I agree to a new charge of 0.20 USD" in person.get(f"/jobs/{job.id}").text
        assert person.post(f"/jobs/{job.id}/retry").status_code == 409
        assert console.driver.state(job.id) == "failed"
        assert person.post(f"/jobs/{job.id}/retry", may_charge="true").status_code == 303
        assert console.driver.state(job.id) == "queued"
        assert LaneName.SUBMIT in console.house.woken.lanes

    def test_viewers_see_no_button(self, console: Console) -> None:
        """What may not be pressed is not shown."""
        job = console.driver.add_held()
        viewer = console.person("viewer")
        for path in (f"/jobs/{job.id}", "/review"):
            assert 'action="/console/jobs/' not in viewer.get(path).text


class TestManyJobs:
    """Everything that a query finds."""

    def test_cancelling(self, console: Console) -> None:
        """Count and cost first; then those jobs, none that came since; one line of the audit log with the count."""
        before = console.driver.add_many(3)
        person = console.person()
        page = person.get("/bulk/cancel?q=status%3Aqueued").text
        assert "about 0.60 USD not spent" in page
        assert "Cancel 3 jobs" in page
        (later,) = console.driver.add_many(1)
        answer = person.post("/bulk/cancel", **{**hidden(page), "reason": "wrong week"})
        assert answer.headers["location"] == "/console/bulk/cancel/done?moved=3&flagged=0&left=0"
        assert {console.driver.state(job_id) for job_id in before} == {"cancelled"}
        assert console.driver.state(later) == "queued"
        assert audit(console) == [("jobs.cancel", "wrong week", 3)]
        assert LaneName.SUBMIT in console.house.woken.lanes

    def test_no_job_is_paid_for_that_was_not_shown(self, console: Console) -> None:
        """When others would be, it is asked again (409) and nothing is done; what was shown is done once agreed to."""
        first = console.add_failed()
        person = console.person()
        fields = hidden(person.get("/bulk/retry?q=status%3Afailed").text)
        second = console.add_failed()
        answer = person.post("/bulk/retry", **{**fields, "newest": second.id})
        assert (answer.status_code, "Nothing was done" in answer.text) == (409, True)
        assert {console.driver.state(job.id) for job in (first, second)} == {"failed"}
        assert person.post("/bulk/retry", **fields).status_code == 303
        assert [console.driver.state(job.id) for job in (first, second)] == ["queued", "failed"]

    def test_only_ones_own(self, console: Console) -> None:
        """The query of one owner finds nothing of another's."""
        (theirs,) = console.driver.add_many(1, owner="other")
        person = console.person("operator", "studio")
        page = person.get("/bulk/cancel?q=status%3Aqueued").text
        assert "There is nothing to cancel" in page
        person.post("/bulk/cancel", q="status:queued", newest="job_z", paid=digest_of(BulkPlan()))
        assert console.driver.state(theirs) == "queued"


def test_a_batch_is_cancelled(console: Console) -> None:
    """What is not paid for stops; the page says how it stands."""
    (job_id,) = console.driver.add_many(1)
    batch_id = console.driver.get(job_id).batch_id
    person = console.person()
    answer = person.post(f"/batches/{batch_id}/cancel", reason="enough")
    assert answer.headers["location"] == f"/console/batches/{batch_id}?done=cancel"
    assert console.driver.state(job_id) == "cancelled"
    assert audit(console) == [("batch.cancel", "enough", 1)]
    assert "1 cancelled" in person.get(f"/batches/{batch_id}").text


def test_what_a_batch_may_cost_again_is_shown_first(console: Console) -> None:
    """The page before trying again names count and price; without the ticked box nothing is paid."""
    job = console.add_failed()
    person = console.person()
    page = person.get(f"/batches/{job.batch_id}/retry").text
    assert "I agree to 1 new charges of 0.20 USD" in page
    assert "budget" not in page
    console.driver.batches.set_budget(str(job.batch_id), 300_000)
    page = person.get(f"/batches/{job.batch_id}/retry").text
    assert "0.30 USD" in page
    assert "raised by what they lack" not in page
    console.driver.batches.set_budget(str(job.batch_id), 100_000)
    page = person.get(f"/batches/{job.batch_id}/retry").text
    assert '0.10 USD <span class="quiet">raised by what they lack, if you agree</span>' in page
    assert person.post(f"/batches/{job.batch_id}/retry", max_cost="0.2").status_code == 409
    done = person.post(f"/batches/{job.batch_id}/retry", max_cost="0.2", may_charge="true")
    assert done.headers["location"].endswith("?done=child")
    assert str(job.batch_id) not in done.headers["location"]


def test_models_are_steered(console: Console) -> None:
    """A limit by hand, a pause and its end: each shown, each in the audit log; a wrong number is told."""
    person = console.person("operator", "*")
    assert person.post("/models/cogvideox-3/limit", limit="7").status_code == 303
    assert "0 / 7" in person.get("/models").text
    assert person.post("/models/cogvideox-3/limit", limit="none").status_code == 422
    person.post("/models/cogvideox-3/pause", reason="too dear")
    assert "too dear" in person.get("/models").text
    person.post("/models/cogvideox-3/resume")
    person.post("/models/cogvideox-3/limit", limit="settings")
    page = person.get("/models").text
    assert ("too dear" in page, "by hand" in page) == (False, False)
    actions = [action for action, *_ in audit(console)]
    assert actions == ["model.limit", "model.resume", "model.pause", "model.limit"]
    assert person.post("/models/cogvideox-33/pause").status_code == 404


class TestWebhooks:
    """Endpoints and what was sent to them."""

    def test_from_adding_to_resending(self, console: Console) -> None:
        """The secret is shown once; a test is logged; resending makes it due again; all of it in the audit log."""
        person = console.person("operator", "local")
        added = person.post("/webhooks", url="https://hooks.example.com/in", events="job.*")
        assert added.status_code == 201
        assert len(re.findall(r"whsec_[A-Za-z0-9+/=]{20,}", added.text)) == 1
        page = person.get("/webhooks").text
        assert "whsec_" not in page
        endpoint_id = re.findall(r"/console/webhooks/(\w+)", page)[0]
        person.post(f"/webhooks/{endpoint_id}/test")
        endpoints = console.house.app.endpoints
        (record,) = endpoints.list_deliveries(endpoint_id=endpoint_id, states=(), limit=9, after=None)
        assert (record.event_type, record.state) == ("webhook.test", DeliveryState.PENDING)
        assert record.id in person.get(f"/webhooks/{endpoint_id}").text
        person.post(f"/webhooks/{endpoint_id}/disable", reason="quiet")
        assert endpoints.get_delivery(record.id).state is DeliveryState.CANCELLED
        assert person.post(f"/deliveries/{record.id}/resend").status_code == 409
        person.post(f"/webhooks/{endpoint_id}/enable")
        assert person.post(f"/deliveries/{record.id}/resend").status_code == 303
        assert endpoints.get_delivery(record.id).state is DeliveryState.PENDING
        assert audit(console)[0][0] == "webhook_delivery.resend"

    def test_what_an_address_holds_stays_out_of_the_log(self, console: Console) -> None:
        """I3: a token in its query is not copied to where every administrator reads; the action is called as the API's."""
        console.person("operator", "local").post("/webhooks", url="https://hooks.example.com/in?token=canary")
        entry = console.house.app.audit_log.list_entries(limit=1)[0]
        assert (entry.action, "canary" in entry.subject) == ("webhook_endpoint.create", False)

    def test_many_endpoints_are_paged(self, console: Console) -> None:
        """F17: every one once, behind each other; the overview asks only for those that fail."""
        desk = replace(console.house.app.endpoint_desk, owner="local")
        ids = [add_endpoint(desk, f"https://hooks.example.com/{n}", ["job.*"]).endpoint.id for n in range(33)]
        person, seen, path, pages = console.person(), list[str](), "/webhooks", 0
        while path:
            page = person.get(path).text
            pages += 1
            seen += re.findall(r'class="name" href="/console/webhooks/(\w+)"', page)
            link = re.search(r'href="/console(/webhooks\?[^"]*)" rel="next"', page)
            path = html.unescape(link[1]) if link else ""
        assert (seen, pages) == (sorted(ids), 2)
        with console.house.app.database.begin_write() as connection:
            sql = "UPDATE webhook_endpoints SET failing_since = '2026-11-01T00:00:00.000000Z' WHERE id IN (?, ?)"
            connection.exec_driver_sql(sql, (ids[0], ids[1]))
        assert "2 webhooks fail" in re.sub(r"\s+", " ", person.get("/").text)
        assert "webhooks fail" not in console.person("operator", "studio").get("/").text

    def test_a_secret_is_changed(self, console: Console) -> None:
        """The new one is shown once, the old one signs as long as was asked; a second change meanwhile is refused."""
        person = console.person("operator", "local")
        old = re.findall(
            r"whsec_[A-Za-z0-9+/=]{20,}", person.post("/webhooks", url="https://hooks.example.com/in").text
        )
        endpoint = console.house.app.endpoints.list_all()[0]
        answer = person.post(f"/webhooks/{endpoint.id}/rotate", overlap="1h", reason="it got out")
        new = re.findall(r"whsec_[A-Za-z0-9+/=]{20,}", answer.text)
        assert (answer.status_code, len(new), new != old) == (200, 1, True)
        page = person.get(f"/webhooks/{endpoint.id}").text
        assert ("whsec_" in page, "Old secret signs until" in page) == (False, True)
        changed = console.house.app.endpoints.get(endpoint.id)
        assert changed.secrets.sealed != endpoint.secrets.sealed
        assert changed.secrets.previous == endpoint.secrets.sealed
        assert person.post(f"/webhooks/{endpoint.id}/rotate").status_code == 409
        assert person.post(f"/webhooks/{endpoint.id}/rotate", overlap="9y").status_code == 422
        assert ("webhook_endpoint.rotate", "it got out", 1) in audit(console)

    def test_an_endpoint_is_deleted(self, console: Console) -> None:
        """It leaves the list, its log stays, and nothing can be done to it any more."""
        person = console.person("operator", "local")
        person.post("/webhooks", url="https://hooks.example.com/in")
        endpoint = console.house.app.endpoints.list_all()[0]
        answer = person.post(f"/webhooks/{endpoint.id}/delete", reason="moved")
        assert answer.headers["location"] == "/console/webhooks?done=delete"
        assert "It is deleted" in person.get("/webhooks?done=delete").text
        assert console.house.app.endpoints.list_all() == []
        page = person.get(f"/webhooks/{endpoint.id}")
        assert (page.status_code, "<button" in page.text.partition("<main")[2]) == (200, False)
        assert console.house.app.endpoints.get(endpoint.id).secrets.sealed is None
        assert audit(console)[0] == ("webhook_endpoint.delete", "moved", 1)

    def test_an_address_that_is_not_allowed(self, console: Console) -> None:
        """Refused on the page itself, with nothing added."""
        person = console.person()
        answer = person.post("/webhooks", url="http://169.254.169.254/latest", events="job.*")
        assert (answer.status_code // 100, 'role="alert"' in answer.text) == (4, True)
        assert console.house.app.endpoints.list_all() == []

    def test_of_another_owner(self, console: Console) -> None:
        """404 for the endpoint, its log, and each of its deliveries."""
        person = console.person("operator", "local")
        person.post("/webhooks", url="https://hooks.example.com/in")
        endpoint = console.house.app.endpoints.list_all()[0]
        person.post(f"/webhooks/{endpoint.id}/test")
        record = console.house.app.endpoints.list_deliveries(endpoint_id=None, states=(), limit=1, after=None)[0]
        other = console.person("operator", "studio")
        assert "hooks.example.com" not in other.get("/webhooks").text
        assert other.get(f"/webhooks/{endpoint.id}").status_code == 404
        whole = f"/webhooks/{endpoint.id}"
        for path in (f"{whole}/disable", f"{whole}/rotate", f"{whole}/delete", f"/deliveries/{record.id}/resend"):
            assert other.post(path).status_code == 404


class TestKeys:
    """Keys, for administrators."""

    def test_made_shown_once_and_revoked(self, console: Console) -> None:
        """The new key opens the console until it is revoked; no page shows it again."""
        admin = console.person("admin")
        made = admin.post("/keys", name="anna", role="viewer", owner="studio", days="30", reason="for March")
        assert made.status_code == 201
        key = re.findall(r"ok_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", made.text)[0]
        assert key not in admin.get("/keys").text
        anna = console.person(key=key)
        assert anna.get("/keys").status_code == 403
        admin.post(f"/keys/{key.split('_')[1]}/revoke")
        assert anna.get("/jobs").status_code == 303

    @pytest.mark.parametrize("fields", [{"name": "a b"}, {"name": "a", "days": "0"}, {"name": "a", "days": "x"}])
    def test_what_cannot_be_a_key(self, console: Console, fields: dict[str, str]) -> None:
        """422 on the page, and no key."""
        admin = console.person("admin")
        answer = admin.post("/keys", role="viewer", **fields)
        assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
