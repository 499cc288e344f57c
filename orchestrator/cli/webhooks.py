"""`orchestrator webhooks`: endpoints that hear what becomes of jobs, and the deliveries to them."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.webhook_listen import listen


@click.group()
@common_options
def webhooks(common: CommonOptions) -> None:
    """Callbacks by Standard Webhooks 1.0.

    \b
    orchestrator webhooks listen --port 9000
    """


for command in (listen,):
    webhooks.add_command(command)
