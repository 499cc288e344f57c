"""Actions, files, batches and outputs over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event

from orchestrator.domain.kind import input_key
from orchestrator.embedded import running_lanes
from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from orchestrator.services.access import revoke_key
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.services.lifecycle import cancel_job
from orchestrator.thumbnails import ThumbnailMaker
from orchestrator.wiring import open_lanes
from tests.api.conftest import VIDEO, Headers, House
from tests.services.desk import few_authorities

LINES = "application/x-ndjson"


def make_png(width: int, height: int) -> bytes:
    data = BytesIO()
    Image.effect_noise((width, height), 60).save(data, "PNG")
    return data.getvalue()


def as_lines(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps({"custom_id": f"line-{n}", **line}) + "\n" for n, line in enumerate(lines))


def post_lines(house: House, headers: Headers, text: str, query: str = "") -> Any:  # noqa: ANN401
    return house.client.post(f"/v1/batches{query}", headers=headers | {"Content-Type": LINES}, content=text)


class TestActions:
    """What people ask of a job."""

    def test_cancel(self, house: House) -> None:
        """200 with the job; twice is a conflict; both are in the audit log, with the reason."""
        headers = house.headers("submit")
        job = house.make_job(headers)
        first = house.client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers, json={"reason": "changed my mind"})
        assert (first.status_code, first.json()["status"]) == (200, "cancelled")
        second = house.client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers)
        assert (second.status_code, second.json()["error"]["code"]) == (409, "conflict")
        entry = house.app.audit_log.list_entries(limit=2)[1]
        assert (entry.action, entry.subject, entry.reason, entry.count) == (
            "job.cancel",
            job["id"],
            "changed my mind",
            1,
        )

    def test_a_retry_says_that_it_would_charge(self, house: House) -> None:
        """409 unless the charge is agreed to; then queued."""
        headers = house.headers()
        job = house.make_job(headers)
        house.client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers)
        refused = house.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)
        assert refused.status_code == 409
        assert "orchestrator " not in str(refused.json()["error"]["hint"])
        agreed = house.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers, json={"may_charge": True})
        assert (agreed.status_code, agreed.json()["status"]) == (200, "queued")

    def test_resubmit_wants_the_word(self, house: House) -> None:
        """422 without may_charge; 409 where nothing is held."""
        headers = house.headers()
        path = f"/v1/jobs/{house.make_job(headers)['id']}/resubmit"
        assert house.client.post(path, headers=headers, json={"may_charge": False}).status_code == 422
        assert house.client.post(path, headers=headers, json={"may_charge": True}).status_code == 409
        assert house.client.post(path.replace("resubmit", "write_off"), headers=headers).status_code == 409

    def test_adopt(self, each_house: House) -> None:
        """201; the same task again is the same job; another owner is told that it is taken, and not by whom."""
        house, headers = each_house, each_house.headers()
        task = {"kind": "video", "task_id": "task-1", "custom_id": "mine"}
        first, second = (house.client.post("/v1/jobs/adopt", headers=headers, json=task) for _ in range(2))
        assert (first.status_code, first.json()["status"]) == (201, "processing")
        assert first.json()["id"] == second.json()["id"]
        foreign = house.client.post("/v1/jobs/adopt", headers=house.headers(owner="other"), json=task)
        assert foreign.status_code == 409
        assert first.json()["id"] not in foreign.text

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"custom_id": "a\0b"}, "custom_id"),
            ({"custom_id": "a\nb"}, "custom_id"),
            ({"tags": {"a": "b\0"}}, "tags.a"),
            ({"tags": {"a": "x" * 257}}, "tags.a"),
            ({"tags": {f"n{number}": "" for number in range(33)}}, "tags"),
        ],
    )
    def test_labels_of_an_adopted_task_are_checked(
        self, each_house: House, change: dict[str, object], param: str
    ) -> None:
        """422 as for a job of our own; no database sees what it cannot keep, and nothing is written."""
        task = {"kind": "video", "task_id": "task-1", **change}
        answer = each_house.client.post("/v1/jobs/adopt", headers=each_house.headers(), json=task)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, param), answer.text
        assert each_house.client.get("/v1/jobs", headers=each_house.headers()).json()["data"] == []

    def test_attaching_another_owners_task_does_not_name_its_job(self, house: House) -> None:
        """I10: the conflict says that the task is taken, not by which job."""
        task = {"kind": "video", "task_id": "task-1"}
        theirs = house.client.post("/v1/jobs/adopt", headers=house.headers(owner="other"), json=task).json()
        headers = house.headers()
        path = f"/v1/jobs/{house.make_job(headers)['id']}/attach"
        answer = house.client.post(path, headers=headers, json={"task_id": "task-1"})
        assert answer.status_code == 409
        assert theirs["id"] not in answer.text

    @pytest.mark.parametrize("task_id", ["", " ", "task 1", "a\nb", "x" * 1001, None, 7])
    def test_what_is_no_task_id_is_not_attached(self, house: House, task_id: object) -> None:
        """422 that names the field, for attach and adopt; the job stays as it is."""
        headers = house.headers()
        job = house.make_job(headers)
        for path, more in ((f"/v1/jobs/{job['id']}/attach", {}), ("/v1/jobs/adopt", {"kind": "video"})):
            answer = house.client.post(path, headers=headers, json={"task_id": task_id, **more})
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, "task_id"), answer.text
        assert house.client.get(f"/v1/jobs/{job['id']}", headers=headers).json()["status"] == "queued"

    def test_a_task_that_the_provider_does_not_know_is_not_attached(self, working_house: House) -> None:
        """409, and nothing is stored; `unchecked` believes it."""
        house, headers = working_house, working_house.headers()
        job = house.make_job(headers)
        path = f"/v1/jobs/{job['id']}/attach"
        refused = house.client.post(path, headers=headers, json={"task_id": "tsak"})
        assert (refused.status_code, "the provider knows no task tsak" in refused.text) == (409, True)
        assert list(house.app.history.list_submissions(job["id"])) == []
        believed = house.client.post(path, headers=headers, json={"task_id": "tsak", "unchecked": True})
        assert (believed.status_code, believed.json()["provider_task_id"]) == (200, "tsak")


class TestFiles:
    """Inputs come by upload and are named by id."""

    def upload(self, house: House, headers: Headers, data: bytes, name: str = "kite.png") -> Any:  # noqa: ANN401
        return house.client.post("/v1/files", headers=headers, files={"file": (name, data)})

    def test_an_upload_is_kept_and_used(self, each_house: House) -> None:
        """201 with what its bytes are; kept once per content; a job that names it is frozen with its SHA-256."""
        house, headers, data = each_house, each_house.headers("submit"), make_png(640, 480)
        first, second = (self.upload(house, headers, data, name) for name in ("../../kite.txt", "b"))
        file = first.json()
        assert (first.status_code, file["content_type"], file["width"], file["name"]) == (
            201,
            "image/png",
            640,
            "kite.txt",
        )
        assert file["id"] != second.json()["id"]
        store = house.app.stores.open(house.app.settings.archive)
        assert list(store.list_keys("inputs/")) == [input_key(file["sha256"])]
        assert house.client.get(f"/v1/files/{file['id']}", headers=headers).json() == file
        job = house.make_job(headers, body={"model": "cogvideox-3", "prompt": "a kite", "image_url": file["id"]})
        assert job["input"]["image_url"] == file["id"]
        frozen: Any = house.app.history.get_job(job["id"]).body
        assert frozen["image_url"]["$input"] == file["sha256"]
        assert list(house.app.settings.spool_dir.iterdir()) == []

    def test_another_owner_cannot_name_it(self, house: House) -> None:
        """I10: neither shown nor used."""
        file = self.upload(house, house.headers(owner="a"), make_png(640, 480)).json()
        theirs = house.headers(owner="b")
        assert house.client.get(f"/v1/files/{file['id']}", headers=theirs).status_code == 404
        body = {"model": "cogvideox-3", "prompt": "a", "image_url": file["id"]}
        answer = house.client.post("/v1/jobs", headers=theirs, json={**VIDEO, "body": body})
        assert answer.json()["error"]["code"] == "input_missing"

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"<html><script>alert(1)</script></html>", "unsupported_format"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
            (b"just words", "unsupported_format"),
            (b"", "unsupported_format"),
            (make_png(64, 64)[:-20], "invalid_input"),
        ],
    )
    def test_what_is_no_medium_is_refused(self, house: House, data: bytes, code: str) -> None:
        """422, and nothing of it is kept anywhere."""
        answer = self.upload(house, house.headers(), data)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), answer.text
        store = house.app.stores.open(house.app.settings.archive)
        assert list(store.list_keys("")) == []
        assert list(house.app.settings.spool_dir.iterdir()) == []

    def test_bodies_of_another_type(self, house: House) -> None:
        """415 for what is no form, 422 for a form without the file."""
        post = house.client.post
        assert post("/v1/files", headers=house.headers(), json={}).status_code == 415
        assert post("/v1/files", headers=house.headers(), files={"other": b"x"}).status_code == 422
        assert post("/v1/files", headers=house.headers(), files={"file": (None, "x")}).status_code == 422


class TestBatches:
    """Job files."""

    def test_a_file_is_taken_once(self, each_house: House) -> None:
        """202; the same file again is the same batch, as lines or as a form; the log counts its jobs."""
        house, headers = each_house, each_house.headers("submit")
        text = as_lines(VIDEO, VIDEO)
        first = post_lines(house, headers, text)
        form = {"file": ("scenes.jsonl", BytesIO(text.encode()))}
        second = house.client.post("/v1/batches", headers=headers, files=form)
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json()["id"] == second.json()["id"]
        assert first.json()["job_counts"]["queued"] == 2
        assert first.headers["location"] == f"/v1/batches/{first.json()['id']}"
        assert house.app.audit_log.list_entries(limit=2)[0].count == 2
        listed = house.client.get("/v1/batches", headers=headers).json()["data"]
        assert [row["id"] for row in listed] == [first.json()["id"]]
        assert "file:" not in first.text

    def test_a_check_stores_nothing(self, house: House) -> None:
        """Every fault and the price; 200, since the check has done what it should."""
        text = as_lines(VIDEO, {"kind": "video", "body": {"model": "cogvideox-3"}}, {"kind": "film", "body": {}})
        report = post_lines(house, house.headers(), text, "?check=true").json()
        assert (report["valid"], report["line_count"], report["price"]) == (False, 3, "0.20")
        assert {fault["line"] for fault in report["faults"]} == {2, 3}
        assert house.client.get("/v1/batches", headers=house.headers()).json()["data"] == []

    def test_a_bad_file_is_refused_whole(self, house: House) -> None:
        """422 with every fault and its line; with allow_partial the good lines are taken."""
        text = as_lines(VIDEO, {"kind": "film", "body": {}})
        refused = post_lines(house, house.headers(), text)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["errors"][0]["line"]) == (422, "invalid_file", 2)
        partial = post_lines(house, house.headers(), text, "?allow_partial=true").json()
        assert (partial["job_counts"]["total"], partial["refused_count"]) == (1, 1)

    def test_paths_in_a_file_are_refused(self, house: House, tmp_path: Path) -> None:
        """Absolute or relative, there or not: a file over HTTP names uploads."""
        (tmp_path / "kite.png").write_bytes(make_png(640, 480))
        lines = [
            {**VIDEO, "body": {"model": "cogvideox-3", "image_url": name}}
            for name in (str(tmp_path / "kite.png"), "kite.png", "../x")
        ]
        report = post_lines(house, house.headers(), as_lines(*lines), "?check=true").json()
        assert [fault["code"] for fault in report["faults"]] == ["path_refused"] * 3

    def test_a_budget(self, house: House) -> None:
        """402 before the first cent."""
        answer = post_lines(house, house.headers(), as_lines(VIDEO, VIDEO), "?max_cost=0.3")
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "budget")

    def test_a_budget_is_changed(self, each_house: House) -> None:
        """By whoever may decide, with those above it, and never below what is charged and queued, retries included."""
        house, headers = each_house, each_house.headers()
        batch = post_lines(house, headers, as_lines(VIDEO, VIDEO), "?max_cost=0.4").json()
        at = f"/v1/batches/{batch['id']}"
        assert house.client.post(f"{at}/cancel", headers=headers).status_code == 200
        again = {"only": ["cancelled"], "may_charge": True, "max_cost": "0.4"}
        child = house.client.post(f"{at}/retry", headers=headers, json=again).json()
        refused = house.client.post(f"{at}/budget", headers=headers, json={"max_cost": "0.39"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget")
        assert "and its retries come to 0.40" in refused.json()["error"]["message"]
        given = house.client.post(
            f"/v1/batches/{child['id']}/budget", headers=headers, json={"max_cost": "0.6", "reason": "more tries"}
        )
        assert (given.status_code, given.json()["cost"]["max"], given.json()["raised"]) == (200, "0.60", [batch["id"]])
        assert house.client.get(at, headers=headers).json()["cost"]["max"] == "0.60"
        entry = house.app.audit_log.list_entries(limit=1)[0]
        assert (entry.action, entry.reason, entry.subject) == ("batch.budget", "more tries", child["id"])
        missing = house.client.post("/v1/batches/batch_none/budget", headers=headers, json={"max_cost": "1"})
        assert missing.status_code == 404

    def test_an_amount_for_a_retry_without_new_charges_changes_nothing(self, each_house: House) -> None:
        """Said by `new_count`; the batch answers with the budget that it had."""
        house, headers = each_house, each_house.headers()
        at = f"/v1/batches/{post_lines(house, headers, as_lines(VIDEO), '?max_cost=0.2').json()['id']}"
        done = house.client.post(f"{at}/retry", headers=headers, json={"may_charge": True, "max_cost": "5"}).json()
        assert (done["new_count"], done["cost"]["max"]) == (0, "0.20")

    def test_other_formats(self, house: House) -> None:
        """CSV by its type or by its name."""
        text = "custom_id,kind,model,prompt\na,video,cogvideox-3,a kite\n"
        plain = house.client.post("/v1/batches", headers=house.headers() | {"Content-Type": "text/csv"}, content=text)
        form = house.client.post("/v1/batches", headers=house.headers(), files={"file": ("a.csv", text.encode())})
        assert (plain.status_code, plain.json()["id"]) == (202, form.json()["id"])

    def test_cancel_results_errors_retry(self, each_house: House) -> None:
        """What was asked of it, and what came of it, line by line."""
        house, headers = each_house, each_house.headers()
        batch = post_lines(house, headers, as_lines(VIDEO, VIDEO)).json()
        at = f"/v1/batches/{batch['id']}"
        stopped = house.client.post(f"{at}/cancel", headers=headers, json={"reason": "why"}).json()
        assert (stopped["stopped_count"], stopped["job_counts"]["cancelled"]) == (2, 2)
        entry = house.app.audit_log.list_entries(limit=1)[0]
        assert (entry.action, entry.reason, entry.count) == ("batch.cancel", "why", 2)
        lines = house.client.get(f"{at}/results", headers=headers).text.splitlines()
        assert [json.loads(line)["custom_id"] for line in lines] == ["line-0", "line-1"]
        (group,) = house.client.get(f"{at}/errors", headers=headers).json()["data"]
        assert (group["code"], group["count"]) == ("cancelled", 2)
        again = {"only": ["cancelled"]}
        assert house.client.post(f"{at}/retry", headers=headers, json=again).status_code == 409
        assert house.client.post(f"{at}/retry", headers=headers, json={"only": ["x"]}).status_code == 422
        child = house.client.post(f"{at}/retry", headers=headers, json={**again, "may_charge": True}).json()
        assert (child["parent_id"], child["new_count"]) == (batch["id"], 2)


@pytest.fixture(scope="module")
def provider() -> Any:  # noqa: ANN401
    with start(SandboxOptions(seed=3, speed=50.0)) as sandbox:
        yield sandbox


@pytest.fixture
def working_house(
    open_house: Callable[..., House],
    sqlite_url_factory: Callable[..., str],
    provider: RunningSandbox,
    tmp_path: Path,
) -> House:
    """Give an installation whose jobs a simulated provider carries out."""
    return open_house(
        sqlite_url_factory(),
        zai_base_url=provider.base_url,
        zai_api_key="id.secret",
        egress_allow=provider.host_port,
        ca_bundle=few_authorities(tmp_path),
        poll_intervals="video=0.1..0.5,image=0.1..0.5",
        tick_seconds=0.1,
    )


def test_a_job_is_followed_to_its_bytes(working_house: House) -> None:
    """POST with Prefer: wait gives the finished job; its events are told live and again from any of them; its bytes come
    whole or in part, and never as a page that could run (I9). The provider's link stands in no answer.
    """
    house = working_house
    headers = house.headers("submit")
    picture = {"kind": "image", "body": {"model": "cogview-4-250304", "prompt": "a kite"}}
    wakeup = Mailboxes()
    maker = ThumbnailMaker(64, deadline_seconds=120)
    with (
        open_lanes(house.app, wakeup) as context,
        running_lanes(replace(context, thumbnails=maker), wakeup, tick_seconds=0.1),
    ):
        job = house.client.post("/v1/jobs", headers=headers | {"Prefer": "wait=60"}, json=picture).json()
        assert (job["status"], job["cost"]["final"]) == ("succeeded", "0.01")
        live = house.client.get(f"/v1/jobs/{job['id']}/events", headers=headers | {"Accept": "text/event-stream"}).text
    blocks = [block for block in live.split("\n\n") if block.startswith("id:")]
    assert [block.splitlines()[1] for block in blocks][::3] == ["event: accepted", "event: archived"]
    assert "event: end" in live
    rest = headers | {"Accept": "text/event-stream", "Last-Event-ID": "2"}
    again = house.client.get(f"/v1/jobs/{job['id']}/events", headers=rest).text
    assert [block for block in again.split("\n\n") if block.startswith("id:")] == blocks[2:]
    (output,) = job["outputs"]
    paths = ("/v1/jobs", f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/events", f"/v1/outputs/{output['id']}")
    told = [house.client.get(path, headers=headers).text for path in paths]
    assert all(job["id"] in text and "/_files/" not in text for text in (*told, live, str(job)))
    content = house.client.get(output["url"], headers=headers)
    assert (content.status_code, len(content.content)) == (200, output["bytes"])
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in content.headers["content-security-policy"]
    small = output["thumbnail"]
    assert small["url"] == f"/v1/outputs/{output['id']}/thumbnail"
    thumbnail = house.client.get(small["url"], headers=headers)
    assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/jpeg")
    assert (len(thumbnail.content), hashlib.sha256(thumbnail.content).hexdigest()) == (small["bytes"], small["sha256"])
    assert (small["width"], small["height"]) == (64, 64)
    assert "sandbox" in thumbnail.headers["content-security-policy"]
    part = house.client.get(output["url"], headers=headers | {"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"\x89PNG")
    assert house.client.get(output["url"]).status_code == 401
    foreign = house.headers(owner="other")
    for path in (f"/v1/outputs/{output['id']}", output["url"], small["url"]):
        assert house.client.get(path, headers=foreign).status_code == 404
    metrics = house.client.get("/metrics", headers=house.headers("viewer", "*")).text
    assert 'orchestrator_jobs{kind="image",model="cogview-4-250304",state="succeeded"} 1.0' in metrics
    assert 'orchestrator_cost_total{currency="USD"} 0.01' in metrics


def test_nothing_is_told_live_to_a_key_that_is_revoked(house: House) -> None:
    """I1: a stream that runs ends with its key, not with the job."""
    headers, own = house.headers("viewer"), house.headers()
    job_id = house.make_job(own)["id"]
    is_looking = Event()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM job_events" in statement:
            is_looking.set()

    event.listen(house.app.database.engine, "before_cursor_execute", note)
    keys = {key.name: key.id for key in house.app.keys.list_keys(limit=10)}
    key_id = keys[min(keys, key=lambda name: int(name.rpartition("-")[2]))]  # the viewer's was made first
    with ThreadPoolExecutor(1) as pool:
        live = headers | {"Accept": "text/event-stream"}
        listening = pool.submit(house.client.get, f"/v1/jobs/{job_id}/events", headers=live)
        assert is_looking.wait(60)
        revoke_key(house.app.keys, key_id, actor="local")
        wait([listening], timeout=60)
        cancel_job(house.app.jobs, job_id, actor="local", reason="")  # ends a stream that went on
    assert "event: end" not in listening.result().text
    assert "event: accepted" in listening.result().text


def test_last_event_id_is_a_number(house: House) -> None:
    """422 for what is none."""
    headers = house.headers()
    path = f"/v1/jobs/{house.make_job(headers)['id']}/events"
    assert house.client.get(path, headers=headers | {"Last-Event-ID": "x' OR 1=1"}).status_code == 422
