"""docker-compose.yml and the Dockerfile keep what docs/operations.md promises; no Docker is needed to read them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are one more package for one file

from orchestrator.cli.main import main
from orchestrator.config import PREFIX, Settings, parse_duration
from orchestrator.services.lanes.context import LaneLimits
from orchestrator.zai.kinds import load_kinds
from tests.fixtures.s3 import S3Server
from tests.repo.sources import ROOT

OF_THE_FLEET = {"BROKER_URL"}  # settings of the extra `fleet`
COMMANDS_OF_THE_FLEET = {"worker"}
RUN_ONCE = {"bucket", "migrate", "cli"}
WORKERS = {"worker", "submitter", "poller", "archiver"}
NEEDS_STATE = WORKERS | {"cli", "migrate"}
UNPROBED = "x-worker"  # whose comment says why; one-shot services refer to it
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?P<rest>[^}]*)\}")
SECRETS = ("PASSWORD", "SECRET", "KEY")
PINNED = re.compile(r"^[a-z0-9/.-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?$")


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services().items() if "build" in service}


@cache
def dockerfile() -> tuple[tuple[str, str], ...]:
    """The instructions in order, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = [line for line in lines.replace("\\\n", " ").splitlines() if line.strip()]
    return tuple((word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined))


def final_stage(word: str) -> list[str]:
    """What an instruction says in the stage that is shipped."""
    last = max(number for number, (each, _) in enumerate(dockerfile()) if each == "FROM")
    return [rest for each, rest in dockerfile()[last:] if each == word]


def environment(service: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = service.get("environment", {})
    return values


def variables() -> Iterator[tuple[str, str]]:
    """Every ${NAME...} of the file with what stands behind its name."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for match in VARIABLE.finditer(text):
        yield match["name"], match["rest"]


@pytest.mark.parametrize("name", services())
def test_every_service_restarts_and_is_probed_or_says_why(name: str) -> None:
    """Long-lived services come back by themselves; what runs once does not run again."""
    service = services()[name]
    assert service["restart"] == ("no" if name in RUN_ONCE else "unless-stopped")
    probe = service["healthcheck"]
    if name in RUN_ONCE | WORKERS:
        assert probe == {"disable": True}
    else:
        assert probe["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries"} <= set(probe)


def test_why_a_worker_is_not_probed_is_said() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert "No health check on purpose" in text[text.index(UNPROBED) :]


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_a_worker_is_given_the_time_of_its_longest_call(name: str) -> None:
    """Design section 5: SIGKILL in the middle of a paid call is an unknown that a person has to look into."""
    longest = max(kind.call_deadline for kind in load_kinds().values())
    grace = parse_duration(services()[name]["stop_grace_period"])
    assert grace > longest + LaneLimits().submit_margin
    assert services()[name]["stop_signal"] == "SIGTERM"


@pytest.mark.parametrize("name", sorted(NEEDS_STATE))
def test_journals_outlive_their_container(name: str) -> None:
    """A named volume holds the data directory: the journals' answers were paid for."""
    service = services()[name]
    data_dir = Path(environment(service)["ORCHESTRATOR_DATA_DIR"])
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    (source,) = [source for source, target in mounts.items() if Path(target) == data_dir.parent]
    assert source in compose()["volumes"]
    assert source == services()["worker"]["volumes"][0].split(":")[0]


def test_workers_of_a_host_sweep_journals_under_one_name() -> None:
    """They share the directory; a name that changes with the container would leave a row in `sweeps` for each."""
    assert {service["hostname"] for name, service in ours().items() if name in WORKERS} == {"${HOST_NAME:-fleet-1}"}


@pytest.mark.parametrize("name", ours())
def test_ours_run_without_rights(name: str) -> None:
    """No root, no capability, nothing to write to but the volumes and /tmp."""
    service = services()[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_image_runs_as_the_same_user() -> None:
    """By number: the volume keeps its owner."""
    (user,) = final_stage("USER")
    assert {user} == {service["user"] for service in ours().values()}


def test_nothing_is_published_but_on_loopback() -> None:
    """Only the store: signed links are opened from outside the network."""
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert set(published) == {"store"}
    assert all(str(port).startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_no_secret_stands_in_the_file() -> None:
    """Passwords and keys are required variables, without a default."""
    for name, rest in variables():
        if any(word in name for word in SECRETS):
            assert rest.startswith(":?"), name
    for name, service in services().items():
        for key, value in environment(service).items():
            if any(word in key for word in SECRETS) or "@" in value or "AUTH" in key.split("_"):
                assert VARIABLE.search(value), f"{name}: {key}"


def test_the_example_names_every_variable_and_no_value() -> None:
    """What has to be set, is empty there; what can be set, is a comment."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    required = {name for name, rest in variables() if rest.startswith(":?")}
    optional = {name for name, _ in variables()} - required
    assert {line.rstrip("=") for line in lines if line and not line.startswith("#")} == required
    commented = {line[1:].partition("=")[0] for line in lines if re.match(r"#[A-Z]", line)}
    assert optional - commented == set()


def test_images_are_pinned_by_version() -> None:
    """No `latest`, nothing that changes under us."""
    theirs = [service["image"] for service in services().values() if "build" not in service]
    bases = [rest.split()[0] for word, rest in dockerfile() if word == "FROM"]
    assert len(set(bases)) == 1
    assert [image for image in [*theirs, *bases] if not PINNED.match(image)] == []


def test_every_setting_exists() -> None:
    """A misspelt ORCHESTRATOR_* variable would be ignored in silence."""
    known = {name.upper() for name in Settings.model_fields} | OF_THE_FLEET
    named = {key for service in services().values() for key in environment(service)}
    named |= {part.partition("=")[0] for rest in final_stage("ENV") for part in shlex.split(rest)}
    assert {key.removeprefix(PREFIX) for key in named if key.startswith(PREFIX)} <= known


@pytest.mark.parametrize("name", [name for name, service in ours().items() if "entrypoint" not in service])
def test_every_command_exists(name: str) -> None:
    """Words up to the first option lead to a command, and the options are its own."""
    command: click.Command = main
    words = list(services()[name]["command"])
    while words and not words[0].startswith("-"):
        assert isinstance(command, click.Group)
        if words[0] in COMMANDS_OF_THE_FLEET and words[0] not in command.commands:
            return
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_image_starts_the_command_without_a_shell() -> None:
    """Exec form: SIGTERM reaches the process that has calls in flight."""
    assert final_stage("ENTRYPOINT") == ['["orchestrator"]']
    assert final_stage("CMD") == ['["--help"]']
    assert final_stage("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_installs_from_the_lock() -> None:
    """Wheels with hashes, the project without an index, and no compiler anywhere."""
    runs = " ".join(rest for word, rest in dockerfile() if word == "RUN")
    assert "--require-hashes --only-binary :all: --no-deps --requirement requirements/fleet.txt" in " ".join(
        runs.split()
    )
    assert "--no-index --no-deps dist/*.whl" in runs
    assert not re.search(r"apt-get|gcc|curl|wget", runs)


def test_the_build_sees_no_secret() -> None:
    """.dockerignore lets in what the wheel is made of, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in allowed)
    assert not {name for name in allowed if ".env" in name or name.startswith(".")}


def test_everybody_waits_for_what_he_needs() -> None:
    """A worker starts on a migrated database and with a bucket."""
    for name in WORKERS:
        conditions = {other: how["condition"] for other, how in services()[name]["depends_on"].items()}
        assert conditions["migrate"] == conditions["bucket"] == "service_completed_successfully"
        assert conditions["postgres"] == "service_healthy"
    for service in services().values():
        for other, how in service.get("depends_on", {}).items():
            is_probed = services()[other]["healthcheck"] != {"disable": True}
            assert how["condition"] == ("service_healthy" if is_probed else "service_completed_successfully")


def test_the_lanes_apart_serve_every_lane() -> None:
    """Whoever scales `worker` to 0 still has all of them."""
    queues = ",".join(services()[name]["command"][2] for name in WORKERS - {"worker"}).split(",")
    assert set(queues) == {"submit", "poll", "archive", "deliver", "sweep"}


def test_the_broker_keeps_nothing_and_the_database_everything() -> None:
    """The broker is not a database; the database is."""
    broker, postgres = services()["broker"]["command"], services()["postgres"]["command"]
    assert broker[broker.index("--save") + 1] == ""
    assert broker[broker.index("--appendonly") + 1] == "no"
    assert "volumes" not in services()["broker"]
    assert {"fsync=on", "synchronous_commit=on", "full_page_writes=on"} <= set(postgres)


def test_the_bucket_is_made_once(s3_server: S3Server) -> None:
    """Run again at every start, it leaves what is there."""

    def run() -> str:
        keys = {"AWS_ACCESS_KEY_ID": s3_server.access_key_id, "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key}
        command = [sys.executable, "deploy/create_bucket.py", s3_server.endpoint_url, "made-by-compose"]
        ended = subprocess.run(command, cwd=ROOT, env=os.environ | keys, capture_output=True, text=True, check=True)
        return ended.stdout

    assert run() == "bucket made-by-compose: created\n"
    client = s3_server.client()
    client.put_object(Bucket="made-by-compose", Key="kept", Body=b"1")
    run()
    assert client.list_objects_v2(Bucket="made-by-compose")["Contents"][0]["Key"] == "kept"
