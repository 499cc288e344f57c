"""`orchestrator sandbox`, and the sandbox that `run --sandbox` keeps in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import click
from pydantic import SecretStr

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.prefix import SANDBOX, remember_sandbox
from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError

SANDBOX_KEY = "sandbox.key"  # any `id.secret` is good there
ENVIRONMENT = "sandbox"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 picks a free one.")
@click.option("--seed", type=int, help="Same seed, same answers.")
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="How many times faster than life."
)
@click.option(
    "--script",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='JSON: {"faults", "limits", "latency", "slot_rule", "seed"}.',
)
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Keep tasks and ledger here and go on.")
@common_options
def sandbox(
    common: CommonOptions,
    host: str,
    port: int,
    seed: int | None,
    speed: float,
    script: Path | None,
    state: Path | None,
) -> None:
    """Run the Z.ai simulator by itself: real media, faults on demand, a ledger of what was charged.

    Any key of the form id.secret is good. Faults, limits and the clock are set over HTTP under /_sandbox/; see
    docs/sandbox.md. Whoever reaches --host can do that, so an address other than loopback belongs into a closed network.
    """
    sandbox_module = load_sandbox()
    try:
        sandbox_module.serve(
            sandbox_module.SandboxOptions(host=host, port=port, seed=seed, speed=speed, script=script, state_dir=state)
        )
    except sandbox_module.SandboxConfigError as error:
        raise ConfigError("sandbox", str(error)) from error


@contextmanager
def sandboxed(settings: Settings) -> Iterator[Settings]:
    """Run the simulator in this process and give settings that point at it: own database, archive and ledger, all
    under `<data dir>/sandbox/`; only its own host:port joins the egress list.
    """
    home = settings.data_dir / SANDBOX
    sandbox_module = load_sandbox()
    try:
        running = sandbox_module.start(sandbox_module.SandboxOptions(state_dir=home / SANDBOX))
    except sandbox_module.SandboxConfigError as error:
        raise ConfigError("--sandbox", str(error)) from error
    with running:
        remember_sandbox(settings, home)
        yield settings.model_copy(
            update={
                "data_dir": home,
                "database_url": None,
                "archive_url": settings.archive_url if "archive_url" in settings.model_fields_set else None,
                "zai_base_url": running.base_url,
                "zai_api_key": SecretStr(SANDBOX_KEY),
                "http_proxy": None,
                "egress_allow": (*settings.egress_allow, running.host_port),
            }
        )


def load_sandbox() -> ModuleType:
    """Return the simulator; it is an extra that nobody needs who has a key."""
    try:
        from orchestrator import sandbox as module
    except ModuleNotFoundError as error:
        hint = "install it with: pip install 'media-orchestrator[sandbox]'"
        raise ConfigError("--sandbox", f"the simulator needs {error.name}; {hint}") from error
    return module
