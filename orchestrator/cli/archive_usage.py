"""`orchestrator archive usage`: what the archive holds, and how much room there is."""

from __future__ import annotations

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import inert_line, print_rows
from orchestrator.services.archive.usage import iter_disks, kept_object, show_bytes
from orchestrator.wiring import open_app

USAGE_COLUMNS = ("archive", "kind", "jobs", "files", "bytes")


@click.command()
@common_options
def usage(common: CommonOptions) -> None:
    """Show what the archive holds by the job table, per kind, and the room on the disks that are used here."""
    settings = common.settings()
    with open_app(settings) as app:
        rows = [kept_object(kept) for kept in app.retention.sum_kept()]
        folders = [("archive", settings.archive_folder), ("data", settings.data_dir), ("spool", settings.spool_dir)]
        disks = list(iter_disks([(what, folder) for what, folder in folders if folder is not None]))
        output = common.format_for(one=False)
        print_rows([*rows, *disks] if output in ("json", "jsonl") else rows, USAGE_COLUMNS, output)
        for disk in disks:
            free, total = show_bytes(int(str(disk["free"]))), show_bytes(int(str(disk["total"])))
            click.echo(inert_line(f"{disk['what']}: {free} of {total} free in {disk['path']}"), err=True)
