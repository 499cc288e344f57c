"""`orchestrator outputs`: the archived files of a job."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from orchestrator.cli.options import CommonOptions, common_options
from orchestrator.cli.output import print_rows
from orchestrator.config import parse_duration
from orchestrator.domain.errors import NotFound, Transient
from orchestrator.domain.job import Job, StoredFile
from orchestrator.domain.ports import Store
from orchestrator.services.views import describe, not_there, output_object
from orchestrator.wiring import open_app

COLUMNS = ("id", "role", "bytes", "content_type", "width", "height", "duration_seconds", "archived_at", "key")


@click.group()
@common_options
def outputs(common: CommonOptions) -> None:
    """List and download what jobs made."""


@outputs.command("list")
@click.argument("job_id", metavar="ID")
@common_options
def list_outputs(common: CommonOptions, job_id: str) -> None:
    """List the outputs of a job."""
    with open_app(common.settings()) as app:
        job = app.history.get_job(job_id)
        rows = [output_object(output) for output in job.outputs]
        print_rows(rows, COLUMNS, common.format_for(one=False))


@outputs.command()
@click.argument("output_id", metavar="OUTPUT")
@click.option("--expires", default="15m", show_default=True, help="Life of the link: 90s, 15m, 2h, 7d.")
@common_options
def url(common: CommonOptions, output_id: str, expires: str) -> None:
    """Print a link to one archived output that works for a while."""
    try:
        life = parse_duration(expires)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    with open_app(common.settings()) as app:
        job, output = app.history.get_output(output_id)
        if output.kept is None:
            raise NotFound(not_there(output))
        click.echo(app.stores.open(job.archive_url).sign_url(output.kept.key, expires=life))


@outputs.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to. [here]"
)
@common_options
def download(common: CommonOptions, job_id: str, directory: Path) -> None:
    """Download the archived outputs of a job; each is hashed on the way and compared with the job table."""
    with open_app(common.settings()) as app:
        job = app.history.get_job(job_id)
        stored = [output.kept for output in job.outputs if output.kept]
        if not stored:
            raise NotFound(f"{job_id} has no archived outputs; {describe(job, now=app.clock.now(), kinds=app.kinds)}")
        directory.mkdir(parents=True, exist_ok=True)
        store = app.stores.open(job.archive_url)
        for file in stored:
            click.echo(str(_save(store, file, directory / _file_name(job, file))))


def _file_name(job: Job, file: StoredFile) -> str:
    """`<custom_id or job id>-<the key's last part>`, free of separators."""
    name = job.custom_id or job.id
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".")
    return f"{safe[:100] or job.id}-{file.key.rpartition('/')[2]}"


def _save(store: Store, file: StoredFile, path: Path) -> Path:
    """Write beside the target and rename: a broken download leaves nothing that looks whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".download-", delete=False) as part:
        temporary = Path(part.name)
        try:
            digest = _copy(store.read_chunks(file.key), part.write)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if digest != file.sha256:
        temporary.unlink(missing_ok=True)
        raise Transient("archive_differs", f"{file.key} in the archive is not what was stored: SHA-256 {digest}")
    os.replace(temporary, path)  # noqa: PTH105 - atomic over an existing file
    return path


def _copy(chunks: Iterable[bytes], write: Callable[[bytes], object]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        write(chunk)
    return digest.hexdigest()
