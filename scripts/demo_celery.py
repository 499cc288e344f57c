"""`make demo-celery`: the example jobs through a fleet on this machine - Valkey, PostgreSQL, an S3 server, the simulator
and two workers, all thrown away at the end.

    python -m scripts.demo_celery [FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.sandbox import RunningSandbox, SandboxOptions, start
from tests.fixtures.brokers import Valkey, running_valkey
from tests.fixtures.postgres import PostgresServer, choose_binaries, running_server
from tests.fixtures.processes import stop
from tests.fixtures.s3 import S3Server, running_s3

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "orchestrator")
DATABASE, BUCKET = "demo", "demo-archive"
WORKERS = 2
STOP_SECONDS = 200.0  # longer than the longest paid call


def main() -> int:
    """Run the file through the fleet; return the run's exit code."""
    file = sys.argv[1] if len(sys.argv) > 1 else "examples/quickstart.jsonl"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-demo-")))
        tell("starting Valkey, PostgreSQL, an S3 server and the simulator")
        valkey = stack.enter_context(running_valkey())
        postgres = stack.enter_context(running_server(*choose_binaries()))
        s3 = stack.enter_context(running_s3(folder))
        sandbox = stack.enter_context(start(SandboxOptions(seed=1)))
        environment = make_environment(folder, valkey, postgres, s3, sandbox)
        prepare(environment, postgres, s3)
        for number in range(1, WORKERS + 1):
            stack.enter_context(running_worker(number, environment, folder))
        code = call(environment, "run", file, "--broker", "--output", "table")
        call(environment, "jobs", "list", "--limit", "5", "--output", "table")
        tell(f"{count_objects(s3)} objects in s3://{BUCKET}; the provider was charged {count_charges(sandbox)} times")
    tell("everything that was started has been stopped")
    return code


def make_environment(
    folder: Path, valkey: Valkey, postgres: PostgresServer, s3: S3Server, sandbox: RunningSandbox
) -> dict[str, str]:
    """Return what every process of the fleet is told: nothing else connects them."""
    return {
        **os.environ,
        "ORCHESTRATOR_DATA_DIR": str(folder / "data"),
        "ORCHESTRATOR_DATABASE_URL": postgres.url(DATABASE),
        "ORCHESTRATOR_BROKER_URL": valkey.url,
        "ORCHESTRATOR_ARCHIVE_URL": f"s3://{BUCKET}",
        "ORCHESTRATOR_S3_ENDPOINT_URL": s3.endpoint_url,
        "ORCHESTRATOR_ZAI_BASE_URL": sandbox.base_url,
        "ORCHESTRATOR_ZAI_API_KEY": "demo.key",
        "ORCHESTRATOR_EGRESS_ALLOW": sandbox.host_port,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
    }


def prepare(environment: Mapping[str, str], postgres: PostgresServer, s3: S3Server) -> None:
    """Make the database, its schema and the bucket."""
    postgres.execute(f"CREATE DATABASE {DATABASE}")
    call(environment, "db", "upgrade")
    s3.client().create_bucket(Bucket=BUCKET)


@contextmanager
def running_worker(number: int, environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run a worker within the block; show its log when it ends badly."""
    log = folder / f"worker-{number}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*COMMAND, "worker"], env=environment, cwd=ROOT, stdout=sink, stderr=sink, start_new_session=True
        )  # a session of its own: Ctrl-C reaches it through us, once
    try:
        yield
    finally:
        stop(process, seconds=STOP_SECONDS)
        if process.returncode != 0:
            tell(f"worker {number} ended with {process.returncode}:\n{log.read_text(errors='replace')}")


def call(environment: Mapping[str, str], *arguments: str) -> int:
    """Run a command as a person would; return its exit code."""
    tell(f"$ orchestrator {' '.join(arguments)}")
    return subprocess.run([*COMMAND, *arguments], env=environment, cwd=ROOT, check=False).returncode


def count_objects(s3: S3Server) -> int:
    """Return how many objects the archive holds."""
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return sum(len(page.get("Contents", ())) for page in pages)


def count_charges(sandbox: RunningSandbox) -> int:
    """Return how many tasks the simulator charged for, by its own ledger."""
    import httpx

    rows = httpx.get(f"{sandbox.control_url}/ledger", trust_env=False).json()["data"]
    return sum(bool(row["charged"]) for row in rows)


def tell(text: str) -> None:
    """Say what is going on."""
    print(f"demo: {text}" if not text.startswith("$") else text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
