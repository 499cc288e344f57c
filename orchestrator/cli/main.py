"""The `orchestrator` command: its groups, and nothing else."""

from __future__ import annotations

import importlib.metadata

import click

from orchestrator.cli.archive import archive
from orchestrator.cli.batches import batches
from orchestrator.cli.db import db
from orchestrator.cli.doctor import doctor
from orchestrator.cli.errors import errors
from orchestrator.cli.jobs import jobs
from orchestrator.cli.keys import keys
from orchestrator.cli.models import models
from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_one
from orchestrator.cli.outputs import outputs
from orchestrator.cli.run import run
from orchestrator.cli.sandbox import sandbox
from orchestrator.cli.serve import serve
from orchestrator.cli.submit import submit
from orchestrator.cli.up import up
from orchestrator.cli.usage import usage
from orchestrator.cli.webhooks import webhooks
from orchestrator.cli.worker import worker

DISTRIBUTION = "media-orchestrator"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@common_options
def main(common: CommonOptions) -> None:
    """Run image, video and transcription jobs on the Z.ai API: paid once, archived before the links expire.

    Start with the simulator, no key needed:

        orchestrator run examples/quickstart.jsonl --sandbox

    Every setting is an ORCHESTRATOR_* variable or a line of a --config file; flags win. Exit codes: 0 ok, 1 bug,
    2 usage or invalid input, 3 some jobs did not succeed, 4 refused by a budget, 5 not found, 6 provider or account
    trouble, 130 interrupted, 143 terminated.
    """


@click.command()
@common_options
def version(common: CommonOptions) -> None:
    """Print the version of this program and of its database schema."""
    from orchestrator.wiring import newest_schema

    row = {"version": importlib.metadata.version(DISTRIBUTION), "schema": newest_schema()}
    if common.format_for(one=True) == "table":
        click.echo(f"orchestrator {row['version']} (schema {row['schema']})")
    else:
        print_one(row, common.format_for(one=True))


COMMANDS = (
    run,
    submit,
    jobs,
    batches,
    outputs,
    archive,
    webhooks,
    models,
    usage,
    keys,
    serve,
    up,
    worker,
    sandbox,
    db,
    doctor,
    errors,
    version,
)

for command in COMMANDS:
    main.add_command(command)
