"""The doctor over a real job table, archive, journal and ledger: nothing after a healthy run, each damage by its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from orchestrator.db.rows import JOBS, OUTPUTS, SUBMISSIONS
from orchestrator.domain.audit import RULES, Charge, Finding
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.job import Job
from orchestrator.domain.ports import ObjectFacts
from orchestrator.domain.states import State
from orchestrator.services.archive.manifest import manifest_key
from orchestrator.services.doctor import Place, Report, examine
from orchestrator.services.doctor.examine import LISTED
from orchestrator.services.doctor.mend import run_maintenance
from orchestrator.services.lanes.submit import SubmitLane
from orchestrator.services.lifecycle import retry_job
from orchestrator.wiring import Closeness, make_patient, with_place
from tests.fixtures.s3 import S3Server
from tests.health import assert_healthy, find_anything
from tests.services.bench import Bench
from tests.services.desk import IMAGE, VIDEO, die

CANARY = "canary-4Rw9"


def finish(bench: Bench, *lines: dict[str, Any]) -> Sequence[Job]:
    """Run jobs to their end."""
    batch = bench.take(*lines)
    with bench.process() as context:
        bench.submit(context)
        while any(job.state is State.PROCESSING for job in bench.jobs(batch)):
            bench.let_due(batch)
            bench.poll(context)
        bench.archive(context)
        bench.sweep(context)
    return bench.jobs(batch)


def codes(bench: Bench, **options: Any) -> list[str]:  # noqa: ANN401 - passed on
    return [finding.code for finding in find_anything(bench.app, ledger=bench.ledger(), **options)]


def write(bench: Bench, statement: Any) -> None:  # noqa: ANN401 - any statement
    with bench.app.jobs._database.begin_write() as connection:
        connection.execute(statement)


def only_finding(bench: Bench) -> Finding:
    (finding,) = find_anything(bench.app, ledger=bench.ledger())
    return finding


# -- healthy -----------------------------------------------------------------------------------------------------


def test_a_healthy_run_has_nothing(bench: Bench) -> None:
    """Outputs, manifests, history, ledger: all agree, and every byte is what was stored."""
    jobs = finish(bench, VIDEO, IMAGE, IMAGE)
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert_healthy(bench.app, ledger=bench.ledger())


def test_a_run_that_was_killed_is_healthy_once_it_ended(bench: Bench) -> None:
    """A process dies with an answer in its journal and leases in its hands; the heir leaves nothing behind."""
    batch = bench.take(VIDEO, IMAGE)
    with bench.process() as dead:
        lane = SubmitLane(dead)
        for work in lane.claim([]):
            bench.loop.submit(lane.perform(work)).result()
        die(dead)
    with bench.process() as context:
        bench.sweep(context)
        while any(job.state is State.PROCESSING for job in bench.jobs(batch)):
            bench.let_due(batch)
            bench.poll(context)
        bench.archive(context)
        bench.advance(31)
        bench.sweep(context)
    assert_healthy(bench.app, ledger=bench.ledger())


def test_the_helper_of_other_tests_sees_damage(sqlite_bench: Bench) -> None:
    """Or it would prove nothing there; what a test allows is let through."""
    (job,) = finish(sqlite_bench, IMAGE)
    write(sqlite_bench, update(JOBS).where(JOBS.c.id == job.id).values(submission_count=2))
    with pytest.raises(AssertionError, match="submission_count_wrong"):
        assert_healthy(sqlite_bench.app)
    assert_healthy(sqlite_bench.app, allow={"submission_count_wrong"})


# -- archive -----------------------------------------------------------------------------------------------------


def lose_object(bench: Bench, job: Job) -> None:
    bench.archived_file(key_of(job)).unlink()


def cut_object(bench: Bench, job: Job) -> None:
    path = bench.archived_file(key_of(job))
    path.write_bytes(path.read_bytes()[:-1])


def change_object(bench: Bench, job: Job) -> None:
    path = bench.archived_file(key_of(job))
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def lose_manifest(bench: Bench, job: Job) -> None:
    bench.archived_file(manifest_key(job)).unlink()


def spoil_manifest(bench: Bench, job: Job) -> None:
    bench.archived_file(manifest_key(job)).write_text("{")


def falsify_manifest(bench: Bench, job: Job) -> None:
    path = bench.archived_file(manifest_key(job))
    path.write_text(path.read_text().replace(sha_of(job), "0" * 64))


def swap_manifest(bench: Bench, job: Job) -> None:
    path = bench.archived_file(manifest_key(job))
    path.write_text(path.read_text().replace(job.id, "job_other"))


def leave_object(bench: Bench, job: Job) -> None:
    bench.archived_file(f"{os.path.dirname(key_of(job))}/9-video-000000000000.mp4").write_bytes(b"x")  # noqa: PTH120


def leave_folder(bench: Bench, job: Job) -> None:
    path = bench.archived_file(f"{job.created_at:%Y/%m/%d}/job_of_nobody/0-video.mp4")
    path.parent.mkdir()
    path.write_bytes(b"x")


def key_of(job: Job) -> str:
    assert job.outputs[0].stored is not None
    return job.outputs[0].stored.key


def sha_of(job: Job) -> str:
    assert job.outputs[0].stored is not None
    return job.outputs[0].stored.sha256


ARCHIVE_DAMAGE: tuple[tuple[str, Callable[[Bench, Job], None]], ...] = (
    ("object_missing", lose_object),
    ("object_length", cut_object),
    ("object_differs", change_object),
    ("manifest_missing", lose_manifest),
    ("manifest_differs", spoil_manifest),
    ("manifest_differs", falsify_manifest),
    ("manifest_differs", swap_manifest),
    ("object_orphaned", leave_object),
    ("folder_orphaned", leave_folder),
)


@pytest.mark.parametrize(("code", "damage"), ARCHIVE_DAMAGE, ids=[damage.__name__ for _, damage in ARCHIVE_DAMAGE])
def test_damage_in_the_archive_is_found(sqlite_bench: Bench, code: str, damage: Callable[[Bench, Job], None]) -> None:
    """Promise 6, looked at from outside: what the table says is archived is there, whole, with its papers."""
    job, _ = finish(sqlite_bench, IMAGE, IMAGE)
    damage(sqlite_bench, job)
    found = only_finding(sqlite_bench)
    assert found.code == code
    assert job.id in found.words or "job_of_nobody" in found.words


def test_only_reading_sees_a_changed_byte(sqlite_bench: Bench) -> None:
    """A HEAD cannot: that is what --verify is for."""
    (job,) = finish(sqlite_bench, IMAGE)
    change_object(sqlite_bench, job)
    assert codes(sqlite_bench, is_hashing=False) == []
    assert codes(sqlite_bench) == ["object_differs"]


def test_what_is_being_archived_is_no_orphan(sqlite_bench: Bench) -> None:
    """The object is there before its row."""
    with sqlite_bench.process() as context:
        job = sqlite_bench.only(sqlite_bench.start_archiving(context))
    path = sqlite_bench.archived_file(f"{job.created_at:%Y/%m/%d}/{job.id}/0-video-000000000000.mp4")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert codes(sqlite_bench) == []


def test_the_newest_keys_are_looked_up_first(sqlite_bench: Bench) -> None:
    """A bound keeps a look at a large archive short, and says so."""
    finish(sqlite_bench, IMAGE)
    (job,) = finish(sqlite_bench, VIDEO)
    leave_folder(sqlite_bench, job)
    patient = make_patient(sqlite_bench.app)
    report = examine(replace(patient, archives=replace(patient.archives, listed_keys=1)))
    assert "1 keys were looked up, the newest" in " ".join(look.words for look in report.looks)


class BrokenStores:
    """Archives that refuse every call."""

    def __init__(self) -> None:
        self.asked = 0

    def open(self, url: str) -> Any:  # noqa: ANN401 - a store of which nothing is used
        self.asked += 1
        raise Permanent("store_denied", "no rights")


def test_an_archive_that_refuses_is_one_finding(sqlite_bench: Bench) -> None:
    """Not one for each of its objects, and no crash."""
    finish(sqlite_bench, IMAGE, IMAGE, IMAGE)
    patient = make_patient(sqlite_bench.app)
    stores = BrokenStores()
    report = examine(replace(patient, archives=replace(patient.archives, stores=stores)))
    (found,) = report.findings
    assert (found.code, "no rights" in found.words) == ("archive_unusable", True)
    assert stores.asked >= 1


def test_a_directory_without_rights_is_found(sqlite_bench: Bench, tmp_path: Path) -> None:
    """The probe object is what shows it before the first output does: here a file where the folder should be."""
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    sqlite_bench.use_archive((blocked / "archive").as_uri())
    assert [found.code for found in look_around(sqlite_bench).findings] == ["archive_unusable"]


def test_a_bucket_that_is_not_there_is_found(sqlite_bench: Bench, s3_server: S3Server) -> None:
    """The same over S3: the store's own word is in the finding."""
    sqlite_bench.use_archive("s3://no-such-bucket/x", s3_endpoint_url=s3_server.endpoint_url, s3_region="us-east-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        (found,) = look_around(sqlite_bench).findings
    assert found.code == "archive_unusable"
    assert "no-such-bucket" in found.words
    assert CANARY not in found.words


def test_a_healthy_bucket_has_nothing(sqlite_bench: Bench, s3_server: S3Server, s3_bucket: str) -> None:
    """Objects by HEAD, manifests, orphans and the probe, over S3."""
    settings = {"s3_endpoint_url": s3_server.endpoint_url, "s3_region": "us-east-1"}
    sqlite_bench.use_archive(f"s3://{s3_bucket}/out", **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        (job,) = finish(sqlite_bench, IMAGE)
        assert look_around(sqlite_bench).findings == ()
        s3_server.client().delete_object(Bucket=s3_bucket, Key=f"out/{key_of(job)}")
        assert [found.code for found in look_around(sqlite_bench).findings] == ["object_missing"]


# -- journals ----------------------------------------------------------------------------------------------------


def leave_answer(bench: Bench, line: dict[str, Any] = VIDEO) -> str:
    """Let a process die between the answer and the commit; return its batch."""
    batch = bench.take(line)
    with bench.process() as dead:
        lane = SubmitLane(dead)
        (work,) = lane.claim([])
        bench.loop.submit(lane.perform(work)).result()
        die(dead)
    return batch


def test_an_answer_that_nobody_linked_is_found_and_mended(bench: Bench) -> None:
    """Promise 4: it is in a dead process's journal only. --fix links it; nothing is sent."""
    batch = leave_answer(bench)
    found = find_anything(bench.app, ledger=bench.ledger())
    assert [each.code for each in found] == ["journal_unlinked", "lease_of_the_dead"]
    posts = bench.posts()
    with bench.process() as context:
        said = run_maintenance(context)
    assert "1 answers linked" in said[0].words
    assert bench.only(batch).state is State.PROCESSING
    assert bench.posts() == posts
    assert codes(bench) == []


def test_an_answer_to_a_call_that_the_table_does_not_know(sqlite_bench: Bench) -> None:
    """A restored backup, or the wrong database."""
    batch = leave_answer(sqlite_bench)
    job = sqlite_bench.only(batch)
    write(sqlite_bench, delete(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job.id))
    assert {"journal_unmatched", "charge_unexplained"} <= set(codes(sqlite_bench))


def test_looking_leaves_a_journal_as_it_is(sqlite_bench: Bench) -> None:
    """The doctor without --fix takes part in nothing: the lock it took is free again, the file untouched."""
    leave_answer(sqlite_bench)
    folder = sqlite_bench.app.settings.journal_dir
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert codes(sqlite_bench) == codes(sqlite_bench) != []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_living_journal_is_its_owners(sqlite_bench: Bench) -> None:
    """An answer that is being committed this moment is no finding."""
    sqlite_bench.take(VIDEO)
    with sqlite_bench.process() as alive:
        lane = SubmitLane(alive)
        (work,) = lane.claim([])
        sqlite_bench.loop.submit(lane.perform(work)).result()
        assert codes(sqlite_bench) == []


def test_a_living_journal_may_not_keep_an_answer_for_ever(sqlite_bench: Bench) -> None:
    """A database that refuses an answer for good leaves it in the journal of a process that lives on."""
    sqlite_bench.take(VIDEO)
    with sqlite_bench.process() as alive:
        lane = SubmitLane(alive)
        (work,) = lane.claim([])
        sqlite_bench.loop.submit(lane.perform(work)).result()
        assert "journal_overdue" not in {
            found.code for found in look_around(sqlite_bench, clock=sqlite_bench.clock).findings
        }
        sqlite_bench.advance(11 * 60)
        overdue = [
            found
            for found in look_around(sqlite_bench, clock=sqlite_bench.clock).findings
            if found.code == "journal_overdue"
        ]
        assert [alive.journal.process in found.words for found in overdue] == [True]
    assert "journal_overdue" not in {
        found.code for found in look_around(sqlite_bench, clock=sqlite_bench.clock).findings
    }  # dead by now


@pytest.mark.parametrize("mode", [0o620, 0o606])
def test_a_journal_that_others_could_write(sqlite_bench: Bench, mode: int) -> None:
    """Fault I15: a task could be slipped in."""
    folder = sqlite_bench.app.settings.journal_dir
    folder.mkdir(parents=True)
    path = folder / "host-1.jsonl"
    path.touch()
    path.chmod(mode)
    assert [each.code for each in find_anything(sqlite_bench.app)] == ["journal_exposed"]


def test_a_journal_folder_that_everybody_may_write(sqlite_bench: Bench) -> None:
    folder = sqlite_bench.app.settings.journal_dir
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert [each.code for each in find_anything(sqlite_bench.app)] == ["journal_exposed"]


# -- ledger ------------------------------------------------------------------------------------------------------


def test_the_truth_about_an_unknown_call_that_was_taken(bench: Bench) -> None:
    """Promise 3: the job waits for a person, and the ledger says what to type."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    batch = bench.take(VIDEO)
    with bench.process() as context:
        bench.submit(context)
    (task,), job = bench.ledger(), bench.only(batch)
    found = {each.code: each for each in find_anything(bench.app, ledger=bench.ledger())}
    assert set(found) == {"needs_review", "unknown_was_charged"}
    assert found["unknown_was_charged"].mend == f"orchestrator jobs attach {job.id} --task-id {task['id']}"


def test_a_lost_answer_that_held_the_result_cannot_be_attached(bench: Bench) -> None:
    """A picture made within the call has no task to ask about: the finding does not tell to attach one."""
    bench.faults({"fault": "lost_answer", "phase": "submit"})
    batch = bench.take(IMAGE)
    with bench.process() as context:
        bench.submit(context)
    found = {each.code: each for each in find_anything(bench.app, ledger=bench.ledger())}
    assert set(found) == {"needs_review", "unknown_answer_lost"}
    assert found["unknown_answer_lost"].mend == f"orchestrator jobs resubmit {bench.only(batch).id}"


def test_the_truth_about_an_unknown_call_that_was_not(bench: Bench) -> None:
    """Nothing was charged: sending it again is safe, and a person's to say."""
    bench.faults({"fault": "reset", "phase": "submit"})
    batch = bench.take(VIDEO)
    with bench.process() as context:
        bench.submit(context)
    found = {each.code: each for each in find_anything(bench.app, ledger=bench.ledger())}
    assert found["unknown_not_charged"].mend == f"orchestrator jobs resubmit {bench.only(batch).id}"


def test_the_ledger_is_read_before_the_table_and_again_at_the_end(sqlite_bench: Bench) -> None:
    """A task that was made while the doctor looked is in the second reading only."""
    finish(sqlite_bench, VIDEO)
    charges = [Charge(row["id"], row["request_id"], row["charged"]) for row in sqlite_bench.ledger()]
    readings = [[], charges]
    patient = make_patient(sqlite_bench.app, ledger=lambda: readings.pop(0))
    assert examine(patient).findings == ()


def judged(bench: Bench, *rows: dict[str, Any]) -> list[str]:
    return [each.code for each in find_anything(bench.app, ledger=rows)]


def test_charges_that_do_not_agree(sqlite_bench: Bench) -> None:
    """Each way in which our ledger and the provider's can differ."""
    (job,) = finish(sqlite_bench, VIDEO)
    (row,) = sqlite_bench.ledger()
    foreign = {"id": "task-f", "request_id": "sub_of_nobody", "charged": True}
    assert judged(sqlite_bench, row, foreign) == ["charge_unexplained"]
    assert judged(sqlite_bench, row, {**foreign, "charged": False}) == []
    assert judged(sqlite_bench) == ["task_unknown_there"]
    assert judged(sqlite_bench, {**row, "id": "task-x"}) == ["task_differs", "task_unknown_there"]
    assert judged(sqlite_bench, row, {**row, "id": row["id"]}) == ["charged_twice"]
    refused = update(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job.id)
    write(sqlite_bench, refused.values(verdict="rejected"))
    assert "charge_refused" in judged(sqlite_bench, row)


def test_a_second_charge_that_a_person_asked_for(bench: Bench) -> None:
    """Two charges of one job are right when the history says who wanted the second."""
    bench.faults({"fault": "fail", "times": 1})
    with bench.process() as context:
        batch = bench.start_processing(context)
        bench.let_due(batch)
        bench.poll(context)
        job = bench.only(batch)
        assert job.state is State.FAILED
        retry_job(bench.app.jobs, job.id, rules=bench.app.rules, may_charge=True, actor="alex", reason="")
        bench.submit(context)
    assert len(bench.ledger()) == 2
    assert codes(bench) == []


def test_an_adopted_task_is_explained(sqlite_bench: Bench) -> None:
    """Its call was somebody else's: the ledger names a request that is no submission of ours."""
    (job,) = finish(sqlite_bench, VIDEO)
    (row,) = sqlite_bench.ledger()
    write(sqlite_bench, update(SUBMISSIONS).where(SUBMISSIONS.c.job_id == job.id).values(origin="adopted"))
    assert judged(sqlite_bench, {**row, "request_id": "theirs"}) == []


def test_a_ledger_that_cannot_be_read_is_a_finding(sqlite_bench: Bench) -> None:
    def refuse() -> Sequence[Charge]:
        raise Transient("ledger_unreadable", "no sandbox there")

    report = examine(make_patient(sqlite_bench.app, ledger=refuse))
    assert [each.code for each in report.findings] == ["ledger_unreadable"]


# -- the place ---------------------------------------------------------------------------------------------------


def look_around(bench: Bench, **changes: Any) -> Report:  # noqa: ANN401 - fields of Place
    patient = with_place(make_patient(bench.app), bench.app.settings, ask_broker=None)
    assert isinstance(patient.place, Place)
    return examine(replace(patient, place=replace(patient.place, least_free_bytes=0, **changes)))


def test_a_place_in_order(sqlite_bench: Bench) -> None:
    """Everything is told of, nothing found, and the probe object is gone."""
    report = look_around(sqlite_bench)
    assert report.is_healthy
    assert {"archive rights", "broker", "clock", "disk"} <= {look.name for look in report.looks}
    assert [path for path in (sqlite_bench.app.settings.data_dir / "archive").rglob("*") if path.is_file()] == []


class LyingStore:
    """A store that answers every call and keeps nothing as it was given."""

    def __init__(self, *, is_deleting: bool) -> None:
        self._is_deleting = is_deleting
        self._data = b""

    def put_bytes(self, key: str, data: bytes, *, content_type: str) -> None:
        self._data = data

    def read_back(self, key: str) -> ObjectFacts:
        data = self._data if not self._is_deleting else b"something else"
        return ObjectFacts(key, len(data), hashlib.sha256(data).hexdigest())

    def find(self, key: str) -> ObjectFacts | None:
        return None if self._is_deleting else ObjectFacts(key, len(self._data), None)

    def delete(self, key: str) -> None:
        """As if it were gone."""


@pytest.mark.parametrize(("is_deleting", "words"), [(True, "reads back differently"), (False, "stays")])
def test_an_archive_that_lies_is_found(sqlite_bench: Bench, is_deleting: bool, words: str) -> None:
    """Success is what was read back, not what was answered."""
    store = LyingStore(is_deleting=is_deleting)
    patient = with_place(make_patient(sqlite_bench.app), sqlite_bench.app.settings, ask_broker=None)
    stores: Any = type("Stores", (), {"open": lambda _self, _url: store})()
    (found,) = examine(replace(patient, archives=replace(patient.archives, stores=stores))).findings
    assert (found.code, words in found.words) == ("archive_unusable", True)


def test_little_room_is_found(sqlite_bench: Bench) -> None:
    patient = with_place(make_patient(sqlite_bench.app), sqlite_bench.app.settings, ask_broker=None)
    assert patient.place is not None
    place = replace(patient.place, least_free_bytes=1 << 60)
    found = examine(replace(patient, place=place)).findings
    assert [each.code for each in found] == ["disk_low", "disk_low"]


def test_an_old_file_in_the_spool_is_found(sqlite_bench: Bench) -> None:
    """Younger ones are downloads."""
    spool = sqlite_bench.app.settings.spool_dir
    spool.mkdir(parents=True)
    for name, hours in (("old.part", 7), ("young.part", 1)):
        (spool / name).touch()
        long_ago = (sqlite_bench.clock.now() - timedelta(hours=hours)).timestamp()
        os.utime(spool / name, (long_ago, long_ago))
    (found,) = look_around(sqlite_bench, clock=sqlite_bench.clock).findings
    assert (found.code, found.subject) == ("spool_stale", "old.part")


def test_a_broker_that_does_not_answer_is_a_finding(sqlite_bench: Bench) -> None:
    def refuse() -> None:
        raise Transient("broker_unreachable", "connection refused")

    (found,) = look_around(sqlite_bench, ask_broker=refuse).findings
    assert (found.code, "connection refused" in found.words) == ("broker_unreachable", True)


def test_a_clock_that_differs_from_the_servers(bench: Bench) -> None:
    """Ours stands an hour ahead; a file of this host has no other."""
    bench.clock.advance(timedelta(hours=1))
    found = [each.code for each in look_around(bench, clock=bench.clock).findings]
    assert found == ([] if bench.app.jobs._database.is_sqlite else ["clock_differs"])


def test_a_database_that_goes_away_meanwhile_is_a_finding(sqlite_bench: Bench) -> None:
    """What has been seen until then is told, and the rest of the place too."""

    class Away:
        def find_violations(self, *, max_unknown_per_hour: int) -> Any:  # noqa: ANN401 - never returns
            raise Transient("database_unavailable", "connection refused")

    patient: Any = with_place(make_patient(sqlite_bench.app), sqlite_bench.app.settings, ask_broker=None)
    report = examine(replace(patient, audit=Away()))
    assert [each.code for each in report.findings] == ["database_unreachable"]
    assert "archive rights" in {look.name for look in report.looks}


def test_a_rule_that_a_thousand_rows_break_fills_no_screen(sqlite_bench: Bench) -> None:
    """Some are named, all are counted."""
    (job,) = finish(sqlite_bench, IMAGE)
    with sqlite_bench.app.jobs._database.begin_write() as connection:
        row = dict(connection.execute(select(OUTPUTS).where(OUTPUTS.c.job_id == job.id)).mappings().one())
        copies = [row | {"id": f"out_{n:04}", "index": n, "sha256": "short"} for n in range(1, LISTED + 11)]
        connection.execute(insert(OUTPUTS), copies)
    report = examine(make_patient(sqlite_bench.app, closeness=Closeness()))
    assert report.counts["output_incomplete"] == LISTED + 10
    assert sum(each.code == "output_incomplete" for each in report.findings) == LISTED


def test_every_code_has_words_and_a_mend() -> None:
    """No rule is silent."""
    assert all(rule.words and rule.mend for rule in RULES.values())
