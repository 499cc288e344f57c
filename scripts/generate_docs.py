"""Draw the documents of `DRAWN` in docs/ from the code; --check fails when one is stale."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import click
from fastapi.routing import APIRoute
from pydantic_core import PydanticUndefined

from orchestrator.api import samples
from orchestrator.api.app import ROUTES
from orchestrator.api.auth import Needs
from orchestrator.cli.main import main as orchestrator
from orchestrator.config import PREFIX, Settings
from orchestrator.crashpoints import KILLED, VARIABLE, CrashPoint
from orchestrator.domain.access import CAPABILITIES, Capability, Role
from orchestrator.domain.advice import Source
from orchestrator.domain.audit import RULES
from orchestrator.domain.states import ACTIVE, FINAL, TRANSITIONS, State
from orchestrator.wiring import error_catalogue

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file

from scripts.draw_archive import draw_archive

DOCS = Path(__file__).parents[1] / "docs"
NOTICE = "<!-- Drawn by scripts/generate_docs.py (`make docs`); change the code, not this file. -->"

MEANINGS = {
    State.QUEUED: "Accepted and kept. Waits for its time, a free slot of its model, or the end of a pause.",
    State.SUBMITTING: "The intent is committed and the paid call is being made. Never made a second time by itself.",
    State.PROCESSING: "The provider has it as a task, which is asked about until the provider, a person or proven loss ends it.",
    State.ARCHIVING: "The provider is done. The outputs are fetched, checked, stored and read back.",
    State.SUCCEEDED: "Every output is in the archive and verified: type, length and SHA-256 agree with what the store holds.",
    State.FAILED: "Ended without a result; `failure.code` says why and what to do.",
    State.CANCELLED: "Stopped by a person. What a paid task made all the same is kept.",
    State.NEEDS_REVIEW: "Nobody here can know what happened. Waits for late truth or for a person; never guessed.",
}

SAMPLES = (
    *(
        "job",
        "output",
        "event",
        "batch",
        "check",
        "file",
        "model",
        "usage",
        "webhook_endpoint",
        "new_webhook_endpoint",
        "webhook_delivery",
        "error_code",
        "key",
        "new_key",
        "audit_entry",
        "failure",
    ),
)
"""Functions of orchestrator.api.samples, in the order of the document."""

SOURCES = {
    Source.JOB: "Why a job failed (`failure.code`) or did not succeed.",
    Source.SUBMISSION: "How a paid call ended without a word of the provider.",
    Source.PROVIDER: "What the provider answered to a paid call, or the way to it. Nothing harms a job when its task is asked about.",
    Source.LINK: "Fetching a result's link, and the bytes that it gave.",
    Source.ARCHIVE: "The archive's store. Nothing is lost while the provider's links live.",
    Source.JOURNAL: "The local journal of answers.",
    Source.DATABASE: "The job table.",
    Source.FLEET: "Broker and workers.",
    Source.WEBHOOK: "Sending an event to an endpoint. No job waits for it.",
    Source.COMMAND: "A command or a call that could not be carried out.",
    Source.REQUEST: "Faults and warnings of a job file or a single request; each is shown with a hint of its own.",
    Source.CLASS: "What the classes of errors mean; a code without a row has its class.",
}


def draw_lifecycle() -> Iterator[str]:
    """Yield the states in prose, the chart and the table of transitions."""
    yield from ("# The life of a job", "", NOTICE, "", "## States", "", "| state | | meaning |", "|---|---|---|")
    for state in State:
        sort = "active" if state in ACTIVE else "final" if state in FINAL else "held"
        yield f"| `{state}` | {sort} | {MEANINGS[state]} |"
    yield from ("", "Waiting to try again is not a state: `due_at` lies in the future and `last_error` says why.", "")
    yield from ("## Chart", "", "```mermaid", "stateDiagram-v2")
    for source, target in sorted({(t.source, t.target) for t in TRANSITIONS}, key=str):
        if source is not target:
            yield f"    {source or '[*]'} --> {target}"
    yield from ("```", "", "## Transitions", "", "| from | trigger | to | due |", "|---|---|---|---|")
    for move in TRANSITIONS:
        yield f"| {move.source or '-'} | `{move.trigger}` | {move.target} | {move.due} |"


def draw_settings() -> Iterator[str]:
    """Yield every setting with its default and meaning."""
    yield from ("# Settings", "", NOTICE, "")
    yield "Command line flags win over `ORCHESTRATOR_*` variables, those over a `--config FILE` in TOML, that over defaults."
    yield 'In TOML the names are lower case and without the prefix: `data_dir = "/srv/media"`.'
    yield from ("", "| variable | default | meaning |", "|---|---|---|")
    for name, field in Settings.model_fields.items():
        yield f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {field.description} |"


def _default(value: object) -> str:
    if value is PydanticUndefined or value is None or value in ((), {}):
        return "-"
    return f"`{value}`"


def draw_commands() -> Iterator[str]:
    """Yield the help of every command."""
    yield from ("# Commands", "", NOTICE)
    yield from _draw_command(orchestrator, "orchestrator")


def draw_findings() -> Iterator[str]:
    """Yield every finding of the doctor with its words and what mends it."""
    yield from ("# Findings", "", NOTICE, "")
    yield "What `orchestrator doctor` tells of; words in capitals are filled in. `broken`: what must always hold does not."
    yield "`attention`: nothing is broken, and somebody has to act or to know. [operations.md](operations.md#doctor) says more."
    yield "Where no command can mend a thing, the one is named that shows its evidence."
    yield from ("", "| code | severity | words | what mends it |", "|---|---|---|---|")
    for rule in RULES.values():
        yield f"| `{rule.code}` | {rule.severity} | {_filled(rule.words)} | {_filled(rule.mend)} |"


def _filled(template: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: name[1].upper(), template)


def draw_crash_points() -> Iterator[str]:
    """Yield every crash point with what has just happened there, and how they are used."""
    yield from ("# Crash points", "", NOTICE, "")
    yield "An instrument of tests and diagnosis, **never for use on jobs that matter**. Each name below is a place between two"
    yield f"effects that outlive the process. With `{VARIABLE}=NAME` a process ends there as `kill -9` would end it (exit code"
    yield f"{KILLED}), the first time it comes by; with `{VARIABLE}=NAME:3` the third time. Only that variable does so: no flag"
    yield "and no settings file can. A process that is armed says so on stderr as it starts (`crash_armed`, CRITICAL) and names the"
    yield "point when it dies; a name that is none below is refused with the list. Unset, it costs one comparison a place."
    yield ""
    yield "`tests/crashes` ends a run at each of them, on SQLite and PostgreSQL, with `ORCHESTRATOR_ON_UNKNOWN=hold` and `resubmit`,"
    yield "runs the same file again to its end, and then asks the doctor, with the provider's ledger, what does not agree:"
    yield "`make test` a half of the combinations (each point on both databases), `make test-all` all. By hand:"
    yield ""
    yield "```sh"
    yield f"{VARIABLE}={CrashPoint.ANSWER_KEPT} orchestrator run examples/quickstart.jsonl --sandbox"
    yield "orchestrator run examples/quickstart.jsonl --sandbox"
    yield "```"
    yield ""
    yield "A wake-up through the broker has no point of its own: it carries nothing, so its loss is the death just before it, at a"
    yield "`committed` point. A new effect in a lane gets a point, and the walk fails until a case reaches it."
    yield from ("", "| point | what has just happened |", "|---|---|")
    for point in CrashPoint:
        yield f"| `{point}` | {point.meaning} |"


def _draw_command(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
    yield from ("", f"## `{path}`", "", "```text", command.get_help(context), "```")
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _draw_command(command.commands[name], f"{path} {name}")


def draw_errors() -> Iterator[str]:
    """Yield every code with what happens next and what to do."""
    yield from ("# Errors", "", NOTICE, "")
    yield "Every code that a person can meet: `orchestrator errors list [CODE]` shows the same. *Next* is what happens without"
    yield "anybody doing anything. A code from two sources has two rows; the row of a family (`http_5xx`, `13xx`, `invalid_FIELD`)"
    yield "speaks for codes of its form that have no row of their own."
    for source, entries in groupby(error_catalogue(), key=lambda entry: entry.source):
        yield from ("", f"## {source.capitalize()}", "", SOURCES[source], "")
        yield from ("| code | meaning | next | what to do |", "|---|---|---|---|")
        for entry in entries:
            yield f"| `{entry.code}` | {entry.meaning} | {entry.then} | {entry.advice} |"


API_WORDS = """
`orchestrator serve` serves the HTTP API by itself: it takes jobs in, workers (or `orchestrator run`) do them. `orchestrator up`
serves it and does the work in one process; with `--sandbox` nothing is paid and no key of the provider is needed:

```sh
orchestrator up --sandbox
```

It prints its address and an administrator's key that is good until it ends. For everything else make keys:

```sh
orchestrator keys create studio --role submit
orchestrator keys create anna --role operator --owner studio --expires 90d
orchestrator serve --host 0.0.0.0 --port 8000
```

There is no default key. As long as there is none, the server listens on loopback only, whatever `--host` says, and says so.
Put a proxy that speaks TLS in front of it, and set `ORCHESTRATOR_PUBLIC_URL` to its address: links to files of a local archive
begin with it. `/openapi.json` describes every call with examples; `/docs` shows it to people.

## Keys and roles

`Authorization: Bearer ok_<id>_<secret>`. A key is shown once, when it is made; what is kept is an HMAC-SHA256 of its secret under
`ORCHESTRATOR_SECRET_KEY`, looked up by the id and compared in constant time. Revoking holds from the next request on. On PostgreSQL
every process needs the same `ORCHESTRATOR_SECRET_KEY`; on SQLite one is made in the data directory.

Every key has an *owner*: its name, unless `--owner` says another. What it creates belongs to that owner, and it sees nothing of
others: their jobs, batches, outputs and files are 404, in the words of what does not exist. Keys of one owner share what they see.
Administrators see everything, and so do viewers and operators made with `--owner '*'`; what those create belongs to `local`, the
owner of everything made on the command line.
""".strip().split("\n")

API_RULES = """
A viewer creates nothing: whoever only looks must not be able to spend. `measure` (figures over every owner) is only for keys that see
every owner.

Everything that changes something is written into the audit log (`GET /v1/audit_log`) with actor, reason and count: in the
transaction that makes a job, a file or a key; before it is carried out for everything else, so that a line may stand for what was then
refused. The history of a
job names the key too.

## Errors

Every error, whatever made it, has one body; `code` is in [errors.md](errors.md), `request_id` also in the header `X-Request-Id`. Where
several things are wrong, `errors` lists each with its place. 503 comes with `Retry-After`: the database or the archive is away, full or
busy; nothing was half done.

| status | when |
|---|---|
| 400 | a query or a cursor that cannot be read |
| 401, 403 | no good key; a role that does not allow it |
| 402 | it would cost more than `max_cost` |
| 404 | no such thing, or not yours |
| 408, 413, 415, 431 | a body that does not come, is too large (8 MiB of JSON, 200 MB of file) or of another type; over 100 headers |
| 409 | the state of the thing forbids it |
| 422 | fields that are wrong |

## Jobs

`POST /v1/jobs` takes one line of a [job file](job-files.md) and answers 202 with the job and its `Location`. Once it is answered,
the job survives the death of any process.

- `Idempotency-Key`: the same key with the same body gives the same job and `Idempotent-Replayed: true`, for seven days; with
  another body 422; 409 when the first request with it is still being written after two seconds. Key and job are one
  transaction, so a request that died has left both or neither. A known key is answered before anything is checked, also when settings
  or prices have changed since and would refuse the request now. Use one for every request that you may have to send again.
- `?dry_run=true` checks and prices it, and stores nothing.
- `Prefer: wait=30`, and `?wait=30` on `GET /v1/jobs/{id}`: answered as soon as nothing of the job moves by itself any more
  (finished, or held for a person), or after so many seconds, at most 60.
- `max_cost` refuses it before anything is stored if it would cost more.

`GET /v1/jobs` takes the query that `orchestrator jobs list` takes as `q`. Lists go on behind an id (`after`, the page's `last_id`):
nothing is shown twice or left out while jobs come and change. Newest come first, with `order=asc` the oldest. `ETag` and `If-None-Match` spare what has not
changed.

`GET /v1/jobs/{id}/events` is the history; with `Accept: text/event-stream` it is live and ends with `event: end` when the job has
come to rest. Each event's id is its number in the job's history, so that `Last-Event-ID` goes on behind the last one seen.

`retry`, `resubmit` and a batch's `retry` never charge unless the body says `"may_charge": true`.

## Files

Requests over HTTP never name a path. Upload an input with `POST /v1/files` (a form with the part `file`) and write the id it gets where
a job file would have a path; links and inline data are taken as there. What it is is told from its bytes. It is kept in the
archive under `inputs/<sha256>`, once per content, and only its owner can name it.

```sh
curl -H "Authorization: Bearer $KEY" -F file=@kite.png http://127.0.0.1:8000/v1/files
```

Outputs: `url` of an output is the store's own signed link where others can reach the store; for a local archive it is
`/v1/outputs/{id}/content`, which needs the key and knows `Range`. Either is saved, never shown as a page. `thumbnail` is a small JPEG of a
picture or a film with a link of its own (`/v1/outputs/{id}/thumbnail`), or null ([archive.md](archive.md)).

## Batches

`POST /v1/batches` takes a job file as the part `file` of a form, or its lines as the body (`application/x-ndjson`, `text/csv`,
`application/yaml`). All lines or none, unless `allow_partial=true`; `check=true` reports every fault and the price and stores nothing;
`max_cost` is the batch's budget. The same file of the same owner is the same batch.

## Webhooks

An endpoint hears of every job of its owner; `webhook` of a job, and `?webhook=` of a batch, names one for these alone. How events are
signed, tried and verified is in [webhooks.md](webhooks.md). `PATCH` with `{"enabled": false}` lets an endpoint take no more, `test`
sends it one event, `rotate` gives it a new secret, shown once; `POST /v1/webhook_deliveries/resend` sends again what was given up.

## Usage and models

`GET /v1/usage?by=model&since=7d` adds up what the key sees. Limits and pauses of models hold for every owner, so only operators whose
owner is `*`, and administrators, may change them (`POST /v1/models/{model}/limit`, `/pause`, `/resume`).
""".strip().split("\n")


def draw_api() -> Iterator[str]:
    """Yield how the HTTP API is used, what each role may do, every call, and one sample of every object."""
    yield from ("# HTTP API", "", NOTICE, "", *API_WORDS, "")
    yield f"| may | {' | '.join(f'`{role}`' for role in Role)} |"
    yield f"|---|{'---|' * len(Role)}"
    for capability in Capability:
        marks = ("yes" if capability in CAPABILITIES[role] else "" for role in Role)
        yield f"| `{capability}` | {' | '.join(marks)} |"
    yield from ("", *API_RULES, "", "## Calls", "", "| call | needs | does |", "|---|---|---|")
    yield from _draw_calls()
    yield from (
        "",
        "## Objects",
        "",
        "Made by the code that makes the real ones. Later versions add fields; none is renamed.",
    )
    for name in SAMPLES:
        text = json.dumps(getattr(samples, name)(), indent=2, ensure_ascii=False)
        yield from ("", f"### {name.replace('_', ' ').capitalize()}", "", "```json", text, "```")
    yield from ("", 'A list is `{"object": "list", "data": [...], "has_more", "first_id", "last_id"}`.')


def _draw_calls() -> Iterator[str]:
    for module in ROUTES:
        for route in module.router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                needs = [each.call.capability for each in route.dependant.dependencies if isinstance(each.call, Needs)]
                need = f"`{needs[0]}`" if needs else "no key"
                yield f"| `{'|'.join(sorted(route.methods or ()))} {route.path}` | {need} | {route.summary} |"


DRAWN: dict[str, Callable[[], Iterator[str]]] = {
    "lifecycle.md": draw_lifecycle,
    "settings.md": draw_settings,
    "commands.md": draw_commands,
    "findings.md": draw_findings,
    "errors.md": draw_errors,
    "crash-points.md": draw_crash_points,
    "api.md": draw_api,
    "archive.md": lambda: draw_archive(NOTICE),
}


def main(arguments: list[str]) -> int:
    """Write the documents, or with --check name those that are stale."""
    stale = []
    for name, draw in DRAWN.items():
        text = "\n".join(line.rstrip() for part in draw() for line in part.split("\n")) + "\n"
        path = DOCS / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, "utf-8")
    if stale:
        print(("stale, run `make docs`: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
