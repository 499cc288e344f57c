"""`orchestrator keys`: who may use the HTTP API."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_one, print_rows
from orchestrator.config import parse_duration
from orchestrator.domain.access import LOCAL, Role
from orchestrator.services.access import create_key, list_keys, revoke_key
from orchestrator.services.access_views import key_object
from orchestrator.wiring import open_app, read_secret_key

COLUMNS = ("id", "name", "role", "owner", "created_at", "created_by", "expires_at", "revoked_at")
REASON = click.option("--reason", default="", help="Kept in the audit log.")


@click.group()
@common_options
def keys(common: CommonOptions) -> None:
    """Make, list and revoke keys of the HTTP API. docs/api.md says what each role may do."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do.")
@click.option("--owner", metavar="O", help="Whose jobs it creates and sees; * sees everybody's. [NAME]")
@click.option("--expires", metavar="LIFE", help="Good for so long: 12h, 30d. [for ever]")
@REASON
@common_options
def create(common: CommonOptions, name: str, role: str, owner: str | None, expires: str | None, reason: str) -> None:
    """Make a key. It is shown once, here, and kept nowhere.

    \b
    orchestrator keys create studio --role submit
    orchestrator keys create anna --role operator --owner studio --expires 90d
    """
    try:
        life = parse_duration(expires) if expires is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    settings = common.settings()
    with open_app(settings, may_migrate=True) as app:
        key, text = create_key(
            app.keys,
            name=name,
            role=Role(role),
            owner=owner,
            life=life,
            server_key=read_secret_key(settings).encode(),
            rng=app.rng,
            actor=LOCAL,
            reason=reason,
        )
        print_one(key_object(key, text=text), common.format_for(one=True))
        click.echo("this key is shown once: keep it now", err=True)


@keys.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Most keys shown.")
@click.option("--after", metavar="ID", help="Go on behind this key.")
@common_options
def list_all(common: CommonOptions, limit: int, after: str | None) -> None:
    """List keys, revoked ones included; never their secrets."""
    with open_app(common.settings()) as app:
        rows = [key_object(key) for key in list_keys(app.keys, limit=limit, after=after)]
        print_rows(rows, COLUMNS, common.format_for(one=False))


@keys.command()
@click.argument("key_id", metavar="ID")
@REASON
@common_options
def revoke(common: CommonOptions, key_id: str, reason: str) -> None:
    """Revoke a key for good: its next request is refused."""
    with open_app(common.settings()) as app:
        print_one(key_object(revoke_key(app.keys, key_id, actor=LOCAL, reason=reason)), common.format_for(one=True))
