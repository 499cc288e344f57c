"""`orchestrator batches gallery`: a batch as one page to look at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

import click

from orchestrator.cli.batch_lists import show_batch
from orchestrator.cli.options import CommonOptions, place_options
from orchestrator.config import parse_duration
from orchestrator.domain.job import Job, StoredFile
from orchestrator.services.batch_files import iter_jobs
from orchestrator.services.gallery import MARK, Frame, render_gallery
from orchestrator.wiring import App, open_app

MARK_WITHIN = 1000  # bytes from the beginning of a page
LONGEST = timedelta(days=7)  # what an S3 signature can promise


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("gallery.html"),
    show_default=True,
    help="Where the page goes; - is stdout, with links that are good from this folder.",
)
@click.option("--effective", is_flag=True, help="Of the batch and all its retries, each line once: the best of it.")
@click.option("--embed", is_flag=True, help="Put small pictures into the page itself, up to 20 MB.")
@click.option("--expires", default="24h", show_default=True, help="Life of links into a bucket: 2h, 7d.")
@place_options
def gallery(common: CommonOptions, batch_id: str, path: Path, effective: bool, embed: bool, expires: str) -> None:
    """Write one page that opens from disk: pictures, players, transcripts, prompt, cost and state per line.

    It links to the archive: by relative paths where that is a folder, by links that expire where it is a bucket. A page
    that is there already is made anew; any other file is left alone, and refused.
    """
    try:
        life = parse_duration(expires)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    is_stdout = str(path) == "-"
    if not is_stdout and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="--output")
    if not is_stdout and not _may_write(path):
        message = f"{path} is there and is no page of ours; name another file, or move it away"
        raise click.BadParameter(message, param_hint="--output")
    with open_app(common.settings()) as app:
        family = [batch.id for batch in app.reports.list_family(batch_id)]
        whose = family[0] if effective else batch_id
        jobs = iter_jobs(app.reports, whose, family=family if effective else ())
        archives = app.reports.list_archives(family if effective else [whose])
        frame = _make_frame(app, archives, path, min(life, LONGEST), embeds=embed)
        pieces = render_gallery(show_batch(app, whose), jobs, frame, now=app.clock.now())
        if is_stdout:
            for piece in pieces:
                click.echo(piece, nl=False)
        else:
            _write(path, pieces)
            click.echo(str(path))


def _may_write(path: Path) -> bool:
    """A page can be made again at any time; what else lies there may be all that somebody has of it."""
    if not path.exists():
        return not path.is_symlink()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK in file.read(MARK_WITHIN)


def _make_frame(app: App, archives: Sequence[str], path: Path, life: timedelta, *, embeds: bool) -> Frame:
    """Lines that earlier batches answer may have their files in other archives than this one's."""
    examples = [urlsplit(app.stores.open(url).sign_url("example", expires=life)) for url in archives]
    is_signed = any(example.scheme != "file" for example in examples)
    return Frame(
        stores=app.stores,
        kinds=app.kinds,
        link=_linker(app, path, life),
        sources=" ".join(sorted({_name_source(example) for example in examples})) or "'none'",
        links_until=app.clock.now() + life if is_signed else None,
        embeds=embeds,
    )


def _name_source(example: SplitResult) -> str:
    """Return what stands for an archive in the page's policy."""
    return "file: 'self'" if example.scheme == "file" else f"{example.scheme}://{example.netloc}"


def _linker(app: App, path: Path, life: timedelta) -> Callable[[Job, StoredFile], str]:
    folder = path.absolute().parent

    def link(job: Job, file: StoredFile) -> str:
        url = app.stores.open(job.archive_url).sign_url(file.key, expires=life)
        parts = urlsplit(url)
        if parts.scheme != "file":
            return url
        return quote(os.path.relpath(unquote(parts.path), folder))

    return link


def _write(path: Path, pieces: Iterable[str]) -> None:
    """Write beside the target and rename: a page that broke off half-way does not look whole."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.absolute().parent, prefix=".gallery-", encoding="utf-8", delete=False
    ) as part:
        temporary = Path(part.name)
        try:
            part.writelines(pieces)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.chmod(0o644)
    temporary.replace(path)
