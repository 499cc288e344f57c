"""The words of docs/archive.md, with one manifest made by the code that makes the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import FinalAnswer, Job, Output, Price, Role, StoredFile, Submission, Verdict
from orchestrator.domain.kind import FrozenInput
from orchestrator.domain.papers import BatchPaper, Filed, ParentPaper
from orchestrator.domain.states import State
from orchestrator.domain.thumbnails import Thumbnail
from orchestrator.services.archive.manifest import make_manifest
from orchestrator.wiring import kinds_by_name

NOW = datetime(2026, 11, 24, 9, 30, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
JOB_ID, BATCH_ID = "job_019ab3f0c1d27aa08c5d7e1f2a3b4c5d", "batch_019ab3f0c1d07bb18c5d7e1f2a3b4c5d"
OUTPUT_ID, SUBMISSION_ID = "out_019ab3f1a2b37cc28c5d7e1f2a3b4c5d", "sub_019ab3f0c1d97cc28c5d7e1f2a3b4c5d"
PARENT_ID = "job_019ab3f0c1d27bb18c5d7e1f2a3b4c5d"
SHA256 = "9f2c41d0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"
TASK_ID = "8868902201637896192-4117"
PRICE = Price(200_000, "USD", "2026-11")

BEFORE = """
What jobs make lies in your own store, a folder or an S3-compatible bucket (`ORCHESTRATOR_ARCHIVE_URL`), before the provider's
links die. `succeeded` means: fetched, walked to its end, stored, read back, and its length and SHA-256 are those in the job table.

    <archive URL>/2026/11/24/job_.../0-video-9f2c41d0a1b2.mp4     an output: index, role, SHA-256's first 12, type by its bytes
    <archive URL>/2026/11/24/job_.../0-video-9f2c41d0a1b2.mp4.poster.jpg     its thumbnail; of a picture: .thumb.jpg
    <archive URL>/2026/11/24/job_.../manifest.json                its papers, see below
    <archive URL>/inputs/<sha256>                                 input files of requests, once per content
    <archive URL>/batches/batch_.../results.jsonl                 files of batches

In a bucket each object of an output also carries metadata: `job-id`, `output-id`, `kind`, `role`, `sha256`, `tool-version`.

## How long links live

The link says when it dies (`Expires`, or `X-Amz-Date` with `X-Amz-Expires`), or it does not. Where it does not, {lives} is assumed,
the shortest that was documented or seen. Known so far: pictures are documented with 30 days, and signed links of 1 and of 7 days were seen;
Vidu's films have 1 day; other films have links that say nothing. If your account's links are known to live longer, say so:

```sh
export ORCHESTRATOR_LINK_LIFE=image=30d,video=30d
```

An end, assumed or not, **only orders the work and raises the alarm**: what dies first is fetched first, in two classes so that
pictures never wait behind films (`ORCHESTRATOR_ARCHIVE_CONCURRENCY`). It is never taken as proof: a link is dead when its server
says 403, 404 or 410. Then the provider is asked for a fresh one, which costs nothing, up to five times over two and a half hours. Loss is proven
when it gives the same dead link again or has no task to ask about; the job then ends as `output_expired`, and its event names output,
link host, end and money. Five different dead links leave the job to a person (`needs_review`). With too long a life the alarm comes late, with too short a one it comes early; nothing else changes.

A download that is cut goes on where it stopped if the link's server gives a strong `ETag` and answers the request for the rest with the
same one; else it begins again. `ORCHESTRATOR_ARCHIVE_BANDWIDTH=50MB` is the most that a process downloads in a second, all outputs
together; waiting for it counts neither against the minimum rate (64 KiB in 30 seconds) nor against the hour that a download may take.

## What is not archived yet

```sh
orchestrator archive at-risk                   # everything that waits, those whose links die first
orchestrator archive at-risk --within 72h      # for a monitor: exit 3 when a link dies within three days
```

Each row says job, role, the link's host, its end and whether that is assumed, the time left, and why it waits; never the link itself,
which whoever holds it can fetch with. Outputs that came inside the answer (transcripts) have no end. Jobs that failed or
were cancelled are listed while what they made can still be fetched: `orchestrator jobs retry` does that and pays nothing. Half of a
link's life unarchived is also an event, `job.at_risk` ([webhooks.md](webhooks.md)).

```sh
orchestrator archive sweep                     # once
orchestrator archive sweep --wait              # until no task runs at the provider any more
```

does at once what workers do in their turn: cuts waiting times short, asks about every running task (also those that `jobs adopt
--file` has taken in), fetches what can be fetched, asks for fresh links in place of dead ones, aborts uploads that died half-way (older than 24 hours), removes old spool files, tells of what is at risk, and closes batches. It may run
beside workers, and leaves to them what they hold. It submits nothing, so nothing is paid. Exit 3 when something is still not
archived, or tasks still run at the provider: it says how many.

## Is it all still there?

```sh
orchestrator archive verify                    # reads everything
orchestrator archive verify --sample 1%        # every night: the same 1% each time
orchestrator archive verify --sample 1% --seed "$(date +%j)"      # another 1% each day
orchestrator archive verify --no-mend -o jsonl > drift.jsonl
```

Every object (of the sample) is read and hashed here, whatever checksum the store claims, and compared with the job table; the manifest
beside it too. A row for each that is not as it was stored; exit 3 when there is one, also when it was mended.

| problem | what it is | what is done |
|---|---|---|
| `missing` | the archive does not hold the object | put back: a transcript from the job table, a file by a fresh link as long as the provider knows the task |
| `short` | it ends too early | left alone; with `--replace` as `missing` |
| `changed` | other bytes than were stored | left alone: somebody may have put them there; with `--replace` as `missing` |
| `thumbnail_missing`, `thumbnail_changed` | the thumbnail is not as it was made | made anew of the archived output |
| `manifest_missing`, `manifest_damaged` | there are no papers, or they cannot be read | written anew from the job table |
| `manifest_differs` | the papers say otherwise than the job table | left alone; with `--replace` written anew |
| `unreadable` | the store could not give it, twice | verify again |
| `archive_unusable` | the store refuses altogether; told once | its address, credentials and rights |

But for thumbnails, only bytes whose SHA-256 is the one in the job table are ever put in place. Nothing is paid: the provider is asked about the task, no
more. Where it does not know the task any more only a copy of yours helps; `message` says so. `--no-mend` only looks. What was put back
stands in the job's history (`output_refetched`) and in the log. Memory does not grow with the archive or with a file.

## Thumbnails

With the extra `media` (PyAV and Pillow; `make demo` and the image have it) each archived picture gets a small JPEG beside it, upright, on
white where it was transparent, and each film its poster frame: the first that is not black within five seconds, else the first.
`ORCHESTRATOR_THUMBNAIL_PIXELS` is the longest side; 0 makes none. They are made of the bytes that have just been stored and read back, in a
process of their own that has no keys, a gigabyte of memory and 20 seconds, since what is decoded is foreign; what declares more than 64
megapixels is not decoded. Trouble with one never holds, fails or repeats a job: it stands in the log (`thumbnail_failed`), and there is none.

```sh
orchestrator doctor                            # says whether they are made here
orchestrator archive thumbnails                # makes those that are missing, of the archived outputs
```

manifest.json names each with its size, its SHA-256 and that of the output it was made of; the job table knows it too. It goes when its output
goes, and `archive usage` counts its bytes.

## How long results are kept

For ever, unless a rule says otherwise. A rule is for `kind:video`, `tag:campaign=spring`, `batch:ID`, `job:ID`, or `*` for every job:

```sh
orchestrator archive retention keep kind:video 90d --reason "our contract"     # 90 days after a job's end
orchestrator archive retention hold tag:client=acme --reason "a lawsuit"       # whatever other rules say, until removed
orchestrator archive retention run --dry-run                                   # jobs, files and bytes that would go now
orchestrator archive retention run                                             # shows the same, asks, takes them away
orchestrator archive usage                                                     # what is archived, and the room on the disks
```

A hold stands over every rule; else the closest to the job holds (`job`, `batch`, `tag`, `kind`, `*`), of equals the one that keeps
longest. A new or changed rule takes nothing away until `retention run` has shown what would go and somebody has agreed; from then on
the sweep carries it out every hour. Rules and runs stand in the audit log.

What goes: the job's files and manifest.json, its request with the prompt, raw answers, the words in what webhooks told; results.jsonl
of its batches is written anew, and their job file goes once nothing of the batch is kept. What stays: the row with its cost, tags and times,
its submissions, the length and SHA-256 of each file, its history. Such a job cannot be tried again, answers no line of a new file, and `archive
reindex` does not know it. What waits: jobs that are not final, jobs of which an event is still to be delivered, jobs that another job
needs. `inputs/` is left alone, since several jobs share a file there: a lifecycle rule of the bucket can clear it.

## The job table is lost

Every manifest holds what the table said of its job. Into an empty database:

```sh
orchestrator db upgrade                        # PostgreSQL; SQLite makes its own
orchestrator archive reindex                   # --archive URL for another archive than the settings'
orchestrator archive verify
orchestrator doctor
```

What comes back: jobs with prompts, parameters, tags, prices and what they used; every paid call with its times; outputs with hashes and facts;
batches with the lines that succeeded. Rebuilt jobs are `succeeded` (`cancelled` where that was asked for while the paid task ran), and
their history says `rebuilt`, with the manifest. Nothing becomes due, nobody is called back, nothing is paid.

What does not: jobs that had not been archived, failed ones among them; the older history; the provider's raw answers;
webhook endpoints and deliveries; keys; idempotency keys; which batch retried which. `finished_at` is the time at which the papers were written.

- **The same job file again pays only for what has no papers.** A rebuilt batch is not the old one, so that the file makes a new batch; its
  lines with a `custom_id` and a body that were rebuilt are answered by those jobs. What was at the provider when the table was lost
  would be paid again: look at the provider's console first and adopt those tasks (`orchestrator jobs adopt`).
- A job table that has jobs is refused. `--merge` adds the jobs that it lacks and changes none that it has; also after a backup was
  restored, for what the archive has gained since ([operations.md](operations.md)). Their lines go into batches of their own: a batch that is there
  may be half-way through its file. A job whose task another job holds is left out and named.
- A manifest that is damaged, of another version, or speaks of objects elsewhere is named and left out (exit 3); the others are
  rebuilt. Manifests of an older version are written anew by `orchestrator archive verify` while there is a job table.

## manifest.json

Written when every mandatory output is there, before the job is called `succeeded`. Times are UTC, money is in millionths of the
currency, `null` is not known. `input` is what was asked for, with the prompt; `body` is what was sent, its files by SHA-256. `inputs` names those
files, `parents` the jobs whose outputs were used. `source_host` is who served the file; links are kept nowhere. It holds prompts:
who may read the archive may read them. Later versions raise `manifest_version`; new fields may come without that.
"""


def draw_archive(notice: str) -> Iterator[str]:
    """Yield docs/archive.md."""
    lives = ", ".join(f"{_days(kind.link_life)} for {name}" for name, kind in sorted(kinds_by_name().items()))
    yield from ("# The archive", "", notice, "", *BEFORE.strip().replace("{lives}", lives).split("\n"))
    yield from ("", "```json", *_sample().decode().strip().split("\n"), "```")


def _days(life: timedelta) -> str:
    return f"{life.days} day{'' if life.days == 1 else 's'}"


def _sample() -> bytes:
    picture = FrozenInput("3b" + SHA256[2:], 482_113, "image/png", "harbour.png")
    model = kinds_by_name()["video"].default_model
    asked = {"model": model, "prompt": "The boats set out", "duration": 5}
    job = Job(
        id=JOB_ID,
        kind="video",
        model=model,
        state=State.ARCHIVING,
        body={**asked, "image_url": picture.as_json()},
        body_sha256="c4" + SHA256[2:],
        credential="default",
        archive_url="s3://media",
        created_at=NOW - 4 * MINUTE,
        batch_id=BATCH_ID,
        line_number=14,
        custom_id="scene-014",
        tags={"campaign": "spring"},
        input={**asked, "image_url": "harbour.png"},
        price=PRICE,
        provider_task_id=TASK_ID,
        submitted_at=NOW - 3 * MINUTE,
        submission_count=1,
        poll_count=4,
        cost_final_micros=PRICE.micros,
        outputs=(Output(OUTPUT_ID, JOB_ID, 0, Role.VIDEO, source_expires_at=NOW + timedelta(days=1)),),
    )
    batch = BatchPaper(
        id=BATCH_ID,
        name="scenes.jsonl",
        owner="local",
        identity_sha256="d5" + SHA256[2:],
        environment="https://api.z.ai/api/paas/v4",
        generation=1,
        line_count=20,
        created_at=NOW - 4 * MINUTE,
        parent_id=None,
    )
    filed = Filed(
        job=job,
        archive_class="video",
        batch=batch,
        submissions=(_submission(job),),
        parents=(ParentPaper("harbour", PARENT_ID),),
        hosts={OUTPUT_ID: "cdn.example.com"},
        announced={OUTPUT_ID: NOW - MINUTE},
    )
    return make_manifest(filed, written_at=NOW, tool_version="0.1.0", files={OUTPUT_ID: _file()})


def _file() -> StoredFile:
    return StoredFile(
        key=f"2026/11/24/{JOB_ID}/0-video-{SHA256[:12]}.mp4",
        byte_count=8_123_456,
        sha256=SHA256,
        content_type="video/mp4",
        width=1920,
        height=1080,
        duration_seconds=5.0,
        codec="avc1",
        thumbnail=Thumbnail(41_213, "5d" + SHA256[2:], 512, 288),
    )


def _submission(job: Job) -> SubmissionRecord:
    submission = Submission(
        id=SUBMISSION_ID,
        job_id=JOB_ID,
        number=1,
        intent_at=NOW - 3 * MINUTE,
        verdict=Verdict.ACCEPTED,
        task_id=TASK_ID,
        final_at=NOW - MINUTE,
        final_answer=FinalAnswer.SUCCESS,
    )
    return SubmissionRecord(
        submission=submission,
        credential=job.credential,
        model=job.model,
        process="studio-1f2e3d4c5b6a7988",
        body_sha256=job.body_sha256,
        price=PRICE,
        moment="answered",
        sent_at=NOW - 3 * MINUTE + timedelta(milliseconds=40),
        answered_at=NOW - 3 * MINUTE + timedelta(milliseconds=620),
        http_status=200,
        raw_answer=None,
        verdict_at=NOW - 3 * MINUTE + timedelta(milliseconds=630),
        assumed_life_until=NOW + timedelta(hours=2),
        slot_released_at=NOW - MINUTE,
        decided_by=None,
        decided_why=None,
    )
