"""`orchestrator webhooks`: what a person types, what a real receiver hears, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.config import Settings, load_settings
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from orchestrator.webhooks import SecretBox
from orchestrator.wiring import open_app
from tests.receiving import Receiver, verifying_receiver

KEY = "the key of an installation, of chance enough"
LINE = {"custom_id": "lamp", "kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a lamp"}}
FRESH = (
    *((verb, ("we_1",)) for verb in ("show", "enable", "disable", "delete", "test", "rotate")),
    ("deliveries", ()),
    ("resend", ("dlv_1",)),
    ("resend", ("--failed", "--since", "1h")),
)
"""What can be asked of webhooks where there are none."""


@pytest.fixture
def provider() -> Iterator[RunningSandbox]:
    with start(SandboxOptions(seed=5, speed=50.0)) as sandbox:
        yield sandbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with verifying_receiver(SecretBox(KEY).default_secret) as receiver:
        yield receiver


@pytest.fixture
def place(tmp_path: Path, provider: RunningSandbox, receiver: Receiver) -> dict[str, str]:
    """Give the settings of a data directory whose events may reach the receiver."""
    return {
        "ORCHESTRATOR_DATA_DIR": str(tmp_path / "data"),
        "ORCHESTRATOR_SECRET_KEY": KEY,
        "ORCHESTRATOR_ZAI_BASE_URL": provider.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "id.canary",
        "ORCHESTRATOR_EGRESS_ALLOW": f"{provider.host_port},{receiver.host_port}",
        "ORCHESTRATOR_TICK_SECONDS": "0.1",
    }


def call(settings: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=settings, catch_exceptions=False)


def settings_of(place: dict[str, str]) -> Settings:
    flags = {name.removeprefix("ORCHESTRATOR_").lower(): value for name, value in place.items()}
    return load_settings({**flags, "egress_allow": flags["egress_allow"].split(",")})


def read(settings: dict[str, str], *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON it prints
    ended = call(settings, *arguments, "-o", "json")
    assert ended.exit_code == 0, ended.stderr
    return json.loads(ended.stdout)


def add(settings: dict[str, str], receiver: Receiver) -> tuple[str, str]:
    """Add the receiver with a secret of its own; return its id and that."""
    endpoint = read(settings, "webhooks", "add", receiver.url)
    receiver.secrets.append(endpoint["secret"])
    return endpoint["id"], endpoint["secret"]


def test_an_endpoint_is_added_tested_and_looked_up(place: dict[str, str], receiver: Receiver) -> None:
    """Its secret is shown once; the stock library verifies what a test sends; the log says so."""
    endpoint_id, secret = add(place, receiver)
    delivery = read(place, "webhooks", "test", endpoint_id)
    assert (delivery["status"], delivery["attempts"][0]["status"]) == ("delivered", 200)
    assert [event["type"] for _, event in receiver.received] == ["webhook.test"]
    (listed,) = read(place, "webhooks", "deliveries", "--endpoint", endpoint_id)
    assert (listed["id"], listed["event_id"]) == (delivery["id"], receiver.ids[0])
    for command in (["list"], ["show", endpoint_id], ["deliveries"]):
        for form in ("json", "table", "csv"):
            assert secret not in call(place, "webhooks", *command, "-o", form).stdout


def test_what_is_done_here_stands_in_the_audit_log(place: dict[str, str], receiver: Receiver) -> None:
    """As what the API does, by the same names; a token in a URL is not copied there (I3)."""
    endpoint_id = read(place, "webhooks", "add", f"{receiver.url}?token=canary")["id"]
    for verb, *more in (("disable", "--reason", "quiet"), ("enable",), ("rotate",), ("delete",)):
        assert call(place, "webhooks", verb, endpoint_id, *more).exit_code == 0
    assert call(place, "webhooks", "resend", "--failed", "--since", "1h").exit_code == 0
    with open_app(settings_of(place)) as app:
        entries = app.audit_log.list_entries(limit=100)[::-1]
    words = ["create", "disable", "enable", "rotate", "delete"]
    actions = [*(f"webhook_endpoint.{word}" for word in words), "webhook_delivery.resend"]
    assert [entry.action for entry in entries] == actions
    assert {(entry.actor, entry.owner) for entry in entries[:-1]} == {("local", "local")}
    assert (entries[1].reason, entries[-1].count) == ("quiet", 0)
    assert not any("canary" in entry.subject for entry in entries)


def test_a_test_that_fails_says_so(place: dict[str, str], receiver: Receiver) -> None:
    """Exit code 3, the reason, and when it is tried again; resending reaches it at once."""
    endpoint_id, _ = add(place, receiver)
    receiver.status = 503
    ended = call(place, "webhooks", "test", endpoint_id, "-o", "json")
    delivery = json.loads(ended.stdout)
    assert (ended.exit_code, delivery["status"], delivery["attempts"][0]["code"]) == (3, "pending", "http_503")
    receiver.status = 204
    again = read(place, "webhooks", "resend", delivery["id"])
    assert (again["status"], again["attempt_count"]) == ("delivered", 2)
    assert receiver.ids == [delivery["event_id"]] * 2


def test_only_what_was_asked_for_is_sent(place: dict[str, str], receiver: Receiver) -> None:
    """A test is no order to send everything that waits; nor is one delivery that is sent again."""
    with verifying_receiver(SecretBox(KEY).default_secret) as other:
        listed = f"{place['ORCHESTRATOR_EGRESS_ALLOW']},{other.host_port}"
        place = {**place, "ORCHESTRATOR_EGRESS_ALLOW": listed}
        other_id, _ = add(place, other)
        endpoint_id, _ = add(place, receiver)
        with open_app(settings_of(place)) as app:
            waiting = [app.endpoints.add_test(each) for each in (other_id, endpoint_id)]
        tested = read(place, "webhooks", "test", endpoint_id)
        assert (receiver.ids, other.ids) == ([tested["event_id"]], [])
        resent = read(place, "webhooks", "resend", waiting[0])
        assert (resent["status"], other.ids) == ("delivered", [resent["event_id"]])
        assert receiver.ids == [tested["event_id"]]
        left = {each["id"] for each in read(place, "webhooks", "deliveries") if each["status"] == "pending"}
        assert left == {waiting[1]}


def test_what_another_process_is_sending_is_left_to_it(place: dict[str, str], receiver: Receiver) -> None:
    """`up` beside it has a turn of the endpoint: nothing is sent twice, and that is said."""
    endpoint_id, _ = add(place, receiver)
    with open_app(settings_of(place)) as app:
        first = app.endpoints.add_test(endpoint_id)
        app.delivering.deliveries.claim_one(first, lease=timedelta(hours=1), process="another")
    ended = call(place, "webhooks", "test", endpoint_id)
    assert (ended.exit_code, receiver.received) == (0, [])
    assert "another process is sending to this endpoint" in ended.stderr


def test_rotating_keeps_both_receivers_content(place: dict[str, str], receiver: Receiver) -> None:
    """F11: during the overlap the old secret still verifies, as does the new one."""
    endpoint_id, old = add(place, receiver)
    new = read(place, "webhooks", "rotate", endpoint_id)["secret"]
    for secret in (old, new):
        receiver.secrets[:] = [secret]
        read(place, "webhooks", "test", endpoint_id)
    read(place, "webhooks", "rotate", endpoint_id, "--overlap", "0s")
    assert (len(receiver.received), receiver.refused) == (2, [])
    assert call(place, "webhooks", "test", endpoint_id).exit_code == 0
    assert len(receiver.refused) == 1


def test_disabled_and_deleted_endpoints_take_nothing(place: dict[str, str], receiver: Receiver) -> None:
    """A conflict that names the command; a deleted one is gone from the list, its log is not."""
    endpoint_id, _ = add(place, receiver)
    read(place, "webhooks", "test", endpoint_id)
    assert read(place, "webhooks", "disable", endpoint_id)["status"] == "disabled"
    refused = call(place, "webhooks", "test", endpoint_id)
    assert (refused.exit_code, f"webhooks enable {endpoint_id}" in refused.stderr) == (2, True)
    assert read(place, "webhooks", "enable", endpoint_id)["status"] == "enabled"
    assert call(place, "webhooks", "delete", endpoint_id).exit_code == 0
    assert read(place, "webhooks", "list") == []
    assert len(read(place, "webhooks", "deliveries")) == 1
    assert call(place, "webhooks", "delete", endpoint_id).exit_code == 5


def test_what_is_wrong_is_refused_in_words(place: dict[str, str], receiver: Receiver) -> None:
    """H18: internal addresses, unknown types, half a question."""
    internal = call(place, "webhooks", "add", "http://169.254.169.254/")
    assert (internal.exit_code, "cannot be a webhook" in internal.stderr) == (2, True)
    unknown = call(place, "webhooks", "add", receiver.url, "--events", "job.succeded")
    assert (unknown.exit_code, "job.succeeded" in unknown.stderr) == (2, True)
    for arguments in (["resend"], ["resend", "--failed"], ["resend", "dlv_1", "--failed", "--since", "1h"]):
        assert call(place, "webhooks", *arguments).exit_code == 2
    assert call(place, "webhooks", "resend", "--failed", "--since", "soon").exit_code == 2


def test_a_run_delivers_what_it_announced(place: dict[str, str], receiver: Receiver, tmp_path: Path) -> None:
    """The job's event and the batch's, to the URL of a line and to that of the run, signed with the default secret."""
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps({**LINE, "webhook": f"{receiver.url}/line"}) + "\n")
    ended = call(place, "run", str(path), "--webhook", f"{receiver.url}/batch")
    assert (ended.exit_code, receiver.refused) == (0, []), ended.stderr
    heard = sorted(event["type"] for _, event in receiver.received)
    assert heard == ["batch.finished", "job.succeeded", "job.succeeded"]
    assert "deliveries are still to be made" not in ended.stderr
    assert call(place, "webhooks", "secret").stdout.strip() == SecretBox(KEY).default_secret


def test_a_run_says_what_it_leaves(place: dict[str, str], receiver: Receiver, tmp_path: Path) -> None:
    """A receiver that is down keeps no run from ending: its deliveries wait for the next one, which makes them."""
    receiver.status = 503
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    ended = call(place, "run", str(path), "--webhook", receiver.url)
    assert (ended.exit_code, "2 deliveries are still to be made" in ended.stderr) == (0, True), ended.stderr
    assert f"(orchestrator --data-dir {tmp_path / 'data'} webhooks deliveries)" in ended.stderr


def test_a_single_job_names_its_webhook(place: dict[str, str], receiver: Receiver) -> None:
    """As a line of a file does; the job's end is heard."""
    body = ["image", "-m", "cogview-4-250304", "-p", "a lamp"]
    refused = call(place, "submit", *body, "--webhook", "http://10.0.0.1/")
    assert (refused.exit_code, "webhook" in refused.stderr) == (2, True)
    assert call(place, "submit", *body, "--webhook", receiver.url, "--wait").exit_code == 0
    assert [event["type"] for _, event in receiver.received] == ["job.succeeded"]


def test_a_webhook_named_after_the_end_hears_nothing_and_that_is_said(
    place: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """The same file again, with a URL: nothing runs, so nothing is told."""
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    said = "hears nothing of that"
    first = call(place, "run", str(path))
    again = call(place, "run", str(path), "--webhook", receiver.url)
    assert (first.exit_code, again.exit_code, receiver.received) == (0, 0, [])
    assert (said in first.stderr, said in again.stderr) == (False, True)


def test_what_to_do_next_is_said_for_this_place(place: dict[str, str], receiver: Receiver, tmp_path: Path) -> None:
    """Every command that is named begins with the data directory at hand."""
    home = tmp_path / "data"
    ours = f"orchestrator --data-dir {home}"
    empty = call(place, "webhooks", "list", "-o", "json")
    assert (empty.exit_code, json.loads(empty.stdout)) == (0, [])
    assert f"no endpoints in {home} yet: {ours} webhooks add URL" in empty.stderr
    for verb, things in FRESH:
        fresh = call(place, "webhooks", verb, *things)
        assert fresh.exit_code == 5, verb
        assert f"there are no webhooks in {home} yet" in fresh.stderr
        assert f"{ours} webhooks add URL" in fresh.stderr
        assert "jobs" not in fresh.stderr
    assert not home.exists()
    added = call(place, "webhooks", "add", receiver.url, "-o", "json")
    assert f"try it: {ours} webhooks test {json.loads(added.stdout)['id']}" in added.stderr
    for verb, thing in (("show", "we_nothing"), ("disable", "we_nothing"), ("resend", "dlv_nothing")):
        missing = call(place, "webhooks", verb, thing)
        assert missing.exit_code == 5
        assert f"{ours} webhooks {'deliveries' if verb == 'resend' else 'list'}" in missing.stderr
        assert "jobs" not in missing.stderr
        assert ".orchestrator" not in missing.stderr


def test_a_test_that_is_answered_410_says_what_it_did(place: dict[str, str], receiver: Receiver) -> None:
    """F6: that it is disabled now, and how it comes back."""
    endpoint_id, _ = add(place, receiver)
    receiver.status = 410
    ended = call(place, "webhooks", "test", endpoint_id)
    assert ended.exit_code == 3
    assert f"{endpoint_id} is now disabled (it answered 410, gone)" in ended.stderr
    assert f"webhooks enable {endpoint_id}" in ended.stderr
    assert read(place, "webhooks", "enable", endpoint_id)["status"] == "enabled"
