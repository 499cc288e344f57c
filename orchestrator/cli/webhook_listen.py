"""`orchestrator webhooks listen`: a receiver on this machine, to try webhooks out with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line
from orchestrator.cli.prefix import SANDBOX
from orchestrator.config import Settings
from orchestrator.services.export import to_json
from orchestrator.webhooks.receiver import Received, receiving


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 picks a free one.")
@click.option("--secret", metavar="whsec_...", help="The endpoint's secret. [the project's default secret]")
@click.option(
    "--answer", type=click.IntRange(200, 599), default=200, show_default=True, help="Status that good events get."
)
@click.option("--sandbox", is_flag=True, help="For events of `run --sandbox`, which has a default secret of its own.")
@common_options
def listen(common: CommonOptions, port: int, secret: str | None, answer: int, sandbox: bool) -> None:
    """Listen on loopback, check the signature of every event, and print it; Ctrl-C ends it.

    An event whose signature does not fit is printed with the reason and answered 401. --answer 500 plays a receiver that
    fails. Events come only to hosts that the orchestrator may reach, and this machine is not one unless it is listed:

    \b
    orchestrator webhooks listen --port 9000 --sandbox
    ORCHESTRATOR_EGRESS_ALLOW=127.0.0.1:9000 orchestrator run jobs.jsonl --sandbox --webhook http://127.0.0.1:9000/
    """
    from orchestrator.clock import SystemClock

    settings = common.settings()
    if sandbox:
        settings = settings.model_copy(update={"data_dir": settings.data_dir / SANDBOX, "database_url": None})
    tell = _printer(common.format_for(one=False))
    with receiving(
        port=port, secret=secret or _default_secret(settings), answer=answer, now=SystemClock().now, tell=tell
    ) as receiver:
        click.echo(f"listening on http://{receiver.host_port}/", err=True)
        click.echo(f"hint: events reach it with ORCHESTRATOR_EGRESS_ALLOW={receiver.host_port}", err=True)
        receiver.serve_forever()


def _default_secret(settings: Settings) -> str:
    from orchestrator.wiring import make_secret_box

    return make_secret_box(settings).default_secret


def _printer(output: str) -> Callable[[Received], None]:
    seen: set[str] = set()
    lock = threading.Lock()  # each connection has a thread of its own

    def tell(received: Received) -> None:
        with lock:
            is_again = received.message_id in seen
            seen.add(received.message_id)
            row = _describe(received, is_again=is_again)
            click.echo(_as_line(row) if output in ("table", "csv") else to_json(row))

    return tell


def _describe(received: Received, *, is_again: bool) -> dict[str, object]:
    body = _read(received.body)
    return {
        "at": received.at.isoformat(timespec="milliseconds"),
        "id": received.message_id,
        "type": body.get("type") if isinstance(body, dict) else None,
        "verified": received.problem is None,
        "problem": received.problem,
        "is_again": is_again,
        "answered": received.answered,
        "body": body,
    }


def _read(body: bytes) -> object:
    """What is no JSON is shown as text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", errors="replace")


def _as_line(row: dict[str, object]) -> str:
    verdict = "verified" if row["verified"] else f"NOT VERIFIED: {row['problem']}"
    again = " (again)" if row["is_again"] else ""
    return inert_line(f"{row['at']}  {row['type']}  {row['id']}{again}  {verdict}  {json.dumps(row['body'])}")
