"""What every route works with, and how it reaches what a caller may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Annotated

from fastapi import Depends, Request

from orchestrator.api.together import Together
from orchestrator.domain.access import ApiKey, AuditEntry, Principal
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Batch, Job, Output, StoredFile
from orchestrator.domain.ports import LaneName, Wakeup
from orchestrator.domain.progress import AnyHold
from orchestrator.domain.states import State
from orchestrator.domain.webhooks import DeliveryRecord, Endpoint
from orchestrator.services.batches import Taker
from orchestrator.services.intake import CheckOptions
from orchestrator.services.uploads import UploadReader
from orchestrator.services.views import Object, job_object
from orchestrator.wiring import App, make_link_judge, webhook_judge

LINK_LIFE = timedelta(minutes=15)  # as `outputs url`


@dataclass(frozen=True)
class Desk:
    """The program behind the API. `environment` is where its jobs are sent: the provider's base URL, or `sandbox`."""

    app: App
    server_key: bytes = field(repr=False)
    wakeup: Wakeup
    environment: str
    public_url: str | None = None

    def taker(self, caller: Principal) -> Taker:
        """Return what takes jobs in for a caller."""
        app = self.app
        store = app.stores.open(self._archive_url)
        return Taker(
            app.batches,
            store,
            app.clock,
            app.rng,
            app.settings.spool_dir,
            owner=caller.creates_for,
            actor=caller.actor,
        )

    @cached_property
    def _archive_url(self) -> str:
        """A path of the settings is resolved by asking the disk about each folder in it: once, not for each request."""
        return self.app.settings.archive

    async def find_key(self, key_id: str) -> tuple[ApiKey | None, datetime]:
        """Return the key of this id as it stands now, and the time that rules on whether it is good."""
        return await self._key_look_ups(key_id)

    @cached_property
    def _key_look_ups(self) -> Together[str, tuple[ApiKey | None, datetime]]:
        """Nothing is remembered of a key: a revoked one is refused from the next request on."""

        def look(key_ids: Sequence[str]) -> list[tuple[ApiKey | None, datetime]]:
            found, now = self.app.keys.find_all(set(key_ids))
            return [(found.get(key_id), now) for key_id in key_ids]

        return Together(look)

    @cached_property
    def judge_webhook(self) -> Callable[[str], None]:
        """The guard's look at the URL of a webhook; asks no server."""
        return webhook_judge(self.app.settings)

    def options(self, caller: Principal, *, allow_unknown_model: bool) -> CheckOptions:
        """Return what a caller's requests are checked by."""
        return CheckOptions(self.environment, allow_unknown_model, judge=self.judge_webhook, owner=caller.creates_for)

    def reader(self, caller: Principal) -> UploadReader:
        """Return what reads the inputs that a caller's requests name: their own uploads, and links that the guard allows."""
        owner = caller.creates_for
        judge = make_link_judge(self.app.settings)
        return UploadReader(lambda upload_id: self.app.uploads.find(upload_id, owner=owner), judge)

    def get_job(self, job_id: str, caller: Principal) -> Job:
        """Raises NotFound, in the same words, for what is not there and for what is not theirs (row I10)."""
        job = self.app.history.get_job(job_id)
        if not caller.sees(job.owner):
            raise NotFound(f"there is no job {job_id}")
        return job

    def get_output(self, output_id: str, caller: Principal) -> tuple[Job, Output]:
        """As `get_job`."""
        job, output = self.app.history.get_output(output_id)
        if not caller.sees(job.owner):
            raise NotFound(f"there is no output {output_id}")
        return job, output

    def get_batch(self, batch_id: str, caller: Principal) -> Batch:
        """As `get_job`."""
        batch = self.app.batches.get(batch_id)
        if not caller.sees(batch.owner):
            raise NotFound(f"there is no batch {batch_id}")
        return batch

    def get_endpoint(self, endpoint_id: str, caller: Principal) -> Endpoint:
        """As `get_job`."""
        endpoint = self.app.endpoints.get(endpoint_id)
        if not caller.sees(endpoint.owner):
            raise NotFound(f"there is no endpoint {endpoint_id}")
        return endpoint

    def get_delivery(self, delivery_id: str, caller: Principal) -> tuple[Endpoint, DeliveryRecord]:
        """As `get_job`."""
        delivery = self.app.endpoints.get_delivery(delivery_id)
        endpoint = self.app.endpoints.get(delivery.endpoint_id)
        if not caller.sees(endpoint.owner):
            raise NotFound(f"there is no delivery {delivery_id}")
        return endpoint, delivery

    def note(
        self, caller: Principal, action: str, subject: str, *, owner: str, reason: str = "", count: int = 1
    ) -> None:
        """Write the line of the audit log before anything is done: nothing happens without one."""
        self.app.audit_log.append(AuditEntry(caller.actor, action, subject, owner, reason, count))

    def show_job(self, job: Job, *, hold: AnyHold | None = None) -> Object:
        """Return the job object with working links."""
        now, kinds = self.app.clock.now(), self.app.kinds
        sign, sign_small = partial(self.sign, job), partial(self.sign_small, job)
        return job_object(job, now=now, kinds=kinds, sign=sign, sign_small=sign_small, hold=hold)

    def show_jobs(self, jobs: Sequence[Job]) -> list[Object]:
        """Return job objects; what waits in one place waits for one thing, which is asked for once."""
        holds: dict[tuple[object, ...], AnyHold | None] = {}
        shown = []
        for job in jobs:
            place = (job.credential, job.model, job.priority, job.batch_id)
            if job.state is State.QUEUED and place not in holds:
                holds[place] = self.app.progress.find_hold(job.id)
            shown.append(self.show_job(job, hold=holds.get(place) if job.state is State.QUEUED else None))
        return shown

    def sign(self, job: Job, output: Output) -> tuple[str, datetime]:
        """Return a link that works for a while: the store's own, or ours where nobody else can reach the store."""
        return self._sign(job, output.kept, f"/v1/outputs/{output.id}/content")

    def sign_small(self, job: Job, output: Output) -> tuple[str, datetime]:
        """Return such a link to an output's thumbnail."""
        small = output.kept.small if output.kept is not None else None
        return self._sign(job, small, f"/v1/outputs/{output.id}/thumbnail")

    def _sign(self, job: Job, file: StoredFile | None, path: str) -> tuple[str, datetime]:
        expires_at = self.app.clock.now() + LINK_LIFE
        store = self.app.stores.open(job.archive_url)
        if file is None or not store.has_public_links:
            return f"{self.public_url or ''}{path}", expires_at
        return store.sign_url(file.key, expires=LINK_LIFE), expires_at

    def wake(self, *lanes: LaneName) -> None:
        """Tell lanes that there may be work."""
        for lane in lanes:
            self.wakeup.wake(lane)


async def get_desk(request: Request) -> Desk:
    """Return the desk of the application that a request came to."""
    desk: Desk = request.app.state.desk
    return desk


DeskOf = Annotated[Desk, Depends(get_desk)]
