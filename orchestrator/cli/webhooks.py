"""`orchestrator webhooks`: endpoints that hear what becomes of jobs, and the deliveries to them."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.webhook_deliveries import deliveries, resend, test
from orchestrator.cli.webhook_endpoints import add, delete, disable, enable, list_endpoints, rotate, secret, show
from orchestrator.cli.webhook_listen import listen


@click.group()
@common_options
def webhooks(common: CommonOptions) -> None:
    """Callbacks by Standard Webhooks 1.0: signed, tried again for three days, looked up and sent again.

    \b
    orchestrator webhooks add https://example.com/hooks --events job.*,batch.finished
    orchestrator webhooks test we_...
    orchestrator webhooks deliveries --failed
    orchestrator webhooks listen --port 9000
    """


for command in (add, list_endpoints, show, enable, disable, delete, test, rotate, secret, deliveries, resend, listen):
    webhooks.add_command(command)
