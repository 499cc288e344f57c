"""`orchestrator archive thumbnails`: for what was archived without one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import click

from orchestrator.cli.archive_lanes import open_workshop
from orchestrator.cli.options import CommonOptions, sandbox_options
from orchestrator.cli.output import inert_line, print_one
from orchestrator.domain.errors import ConfigError, Conflict, NotFound, StepError
from orchestrator.services.archive.thumbnails import list_missing, make_anew
from orchestrator.services.lanes.context import LaneContext
from orchestrator.wiring import describe_thumbnails

AT_ONCE = 2  # as many as are made at once anyhow
PAGE = 100


@click.command()
@sandbox_options
def thumbnails(common: CommonOptions) -> None:
    """Make thumbnails of archived pictures and films that have none: what was archived before there were any, or by a
    process that could not make them.

    Each output is read from the archive once. Those of which none can be made are told of, and harm nothing. Nobody else
    is asked, nothing is paid. -o json: the counts.
    """
    settings = common.settings()
    made = failed = 0
    with open_workshop(settings, sandbox=False) as shop, ThreadPoolExecutor(AT_ONCE) as pool:
        if shop.context.thumbnails is None:
            raise ConfigError("ORCHESTRATOR_THUMBNAIL_PIXELS", describe_thumbnails(settings))
        missing = list_missing(shop.app.audit)
        while page := list(islice(missing, PAGE)):
            for words in pool.map(lambda one: _make(shop.context, *one), page):
                troubles = [each for each in words if each is not None]
                made, failed = made + len(words) - len(troubles), failed + len(troubles)
                for each in troubles:
                    click.echo(inert_line(each), err=True)
    print_one({"object": "thumbnails", "made": made, "failed": failed}, common.format_for(one=True))


def _make(context: LaneContext, job_id: str, output_ids: Sequence[str]) -> list[str | None]:
    return [_try(context, job_id, output_id) for output_id in output_ids]


def _try(context: LaneContext, job_id: str, output_id: str) -> str | None:
    try:
        make_anew(context, job_id, output_id)
    except (StepError, Conflict, NotFound) as error:
        return f"{job_id}, {output_id}: {error}"
    return None
