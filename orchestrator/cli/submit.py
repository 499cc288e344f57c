"""`orchestrator submit KIND`: one job from the command line."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from orchestrator.cli.adopting import open_taker
from orchestrator.cli.exits import fault_text
from orchestrator.cli.fleet import require_broker
from orchestrator.cli.jobfiles import WEBHOOK
from orchestrator.cli.next_step import next_steps
from orchestrator.cli.options import CommonOptions, common_options, read_pair
from orchestrator.cli.output import print_one
from orchestrator.cli.prefix import command
from orchestrator.cli.running import HowToRun, run_to_end
from orchestrator.cli.sandbox import ENVIRONMENT, sandboxed
from orchestrator.domain.errors import ConfigError
from orchestrator.services.batches import show_micros
from orchestrator.services.intake import CheckOptions, SingleRequest, check_one, take_one
from orchestrator.services.views import job_object
from orchestrator.wiring import kinds_by_name, make_link_judge, open_app, webhook_judge


class KindName(click.ParamType[str]):
    """One of the kinds that the package scan finds."""

    name = "kind"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Name them all."""
        return "|".join(sorted(kinds_by_name()))

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is none of them."""
        known = sorted(kinds_by_name())
        if value not in known:
            self.fail(f"{value!r} is none of {', '.join(known)}", param, ctx)
        return str(value)


@click.command()
@click.argument("kind", type=KindName())
@click.option("--model", "-m", help="The provider's model name. [the kind's default]")
@click.option("--prompt", "-p", help="What to make; - reads stdin.")
@click.option(
    "--param", "params", metavar="K=V", multiple=True, help="Any other field; V is JSON if it parses, else text."
)
@click.option(
    "--image", "images", metavar="URL|FILE", multiple=True, help="Picture to start from; twice: first and last."
)
@click.option("--file", "audio", metavar="PATH", help="Recording to transcribe.")
@click.option("--custom-id", help="Your own name for the job.")
@click.option("--tag", "tags", metavar="K=V", multiple=True, help="Label for searching.")
@click.option("--priority", type=click.IntRange(0, 9), default=5, show_default=True, help="Higher goes first.")
@click.option("--idempotency-key", metavar="K", help="The same key gives the same job again, never a second charge.")
@WEBHOOK
@click.option("--allow-unknown-model", is_flag=True, help="Let a model through that is not in our tables, unpriced.")
@click.option("--sandbox", is_flag=True, help="Use the simulator in place of the real API.")
@click.option("--wait", is_flag=True, help="Wait for the job's end; without a broker the lanes run here.")
@click.option("--dry-run", is_flag=True, help="Check and price it; store and pay nothing.")
@common_options
def submit(
    common: CommonOptions,
    kind: str,
    model: str | None,
    prompt: str | None,
    params: tuple[str, ...],
    images: tuple[str, ...],
    audio: str | None,
    custom_id: str | None,
    tags: tuple[str, ...],
    priority: int,
    idempotency_key: str | None,
    webhook: str | None,
    allow_unknown_model: bool,
    sandbox: bool,
    wait: bool,
    dry_run: bool,
) -> None:
    """Make one job of KIND: an image, a video or a transcription.

    \b
    orchestrator submit image -p "A red kite" --param size=1024x1024 --wait
    orchestrator submit video -m cogvideox-3 -p "It climbs" --image kite.png --wait
    orchestrator submit transcription --file talk.wav --sandbox --wait
    """
    settings = common.settings()
    single = SingleRequest(
        kind=kind,
        body=_make_body(model, prompt, params, images, audio),
        custom_id=custom_id,
        tags=dict(read_pair("--tag", tag) for tag in tags),
        priority=priority,
        webhook=webhook,
        typed_paths=tuple(path for path in (*images, audio) if path and _is_path(path)),
    )
    options = CheckOptions(
        ENVIRONMENT if sandbox else settings.zai_base_url, allow_unknown_model, webhook_judge(settings)
    )
    roots = [Path(root) for root in settings.file_roots]
    checked = check_one(
        single,
        kinds_by_name(),
        options=options,
        folder=Path.cwd(),
        file_roots=roots,
        judge_link=make_link_judge(settings),
    )
    for warning in checked.warnings:
        click.echo(fault_text(warning), err=True)
    price = show_micros(checked.estimate.micros) if not checked.estimate.unpriced_count else None
    if dry_run:
        print_one({"valid": True, "price": price, "currency": checked.estimate.currency}, common.format_for(one=True))
        return
    broker_url = require_broker(settings) if settings.broker_url is not None and not sandbox else None
    if wait and not sandbox and broker_url is None and settings.zai_api_key is None:
        raise ConfigError("ORCHESTRATOR_ZAI_API_KEY", "needed to run jobs; or try --sandbox, which needs no key")
    with ExitStack() as stack:
        if sandbox:
            settings = stack.enter_context(sandboxed(settings))
        app = stack.enter_context(open_app(settings, may_migrate=True))
        intake = take_one(checked, open_taker(app), idempotency_key=idempotency_key)
        job = app.history.get_job(intake.job_id or "")
        if not wait:
            print_one(job_object(job, now=app.clock.now(), kinds=app.kinds), common.format_for(one=True))
            left = "recorded" if broker_url is not None else "recorded, not yet submitted"
            click.echo("; ".join([left, *next_steps(app, [job])]), err=True)
            return
        how = HowToRun(broker_url=broker_url, again=f"go on with: {command('jobs run', job.id)}")
        code = run_to_end(app, intake.batch.id, output=common.format_for(one=False), how=how)
    sys.exit(code)


def _make_body(
    model: str | None, prompt: str | None, params: tuple[str, ...], images: tuple[str, ...], audio: str | None
) -> dict[str, object]:
    body: dict[str, object] = {}
    for text in params:
        name, value = read_pair("--param", text)
        body[name] = _value(value)
    if model is not None:
        body["model"] = model
    if prompt is not None:
        body["prompt"] = sys.stdin.read() if prompt == "-" else prompt
    if images:
        body["image_url"] = images[0] if len(images) == 1 else list(images)
    if audio is not None:
        body["file"] = audio
    return body


def _value(text: str) -> object:
    """`--param duration=5` is a number, `--param size=1280x720` text, `--param with_audio=true` a flag."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_path(text: str) -> bool:
    return "://" not in text and not text.startswith("data:")
