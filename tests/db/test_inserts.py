"""Rows go in whole by every way there is, and what refuses them is told in our words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.db import inserts
from orchestrator.domain.errors import Permanent
from tests.db.driver import Driver
from tests.factories import HOUR, make_batch, make_new_job
from tests.fixtures.clock import START

NASTY = 'tab\t, line\n, return\r, back\\slash, \\N, \\., "quotes", кайт, 🪁, \\u0000'


@pytest.mark.parametrize("copy_from", [1, 1_000])
def test_what_goes_in_comes_out(driver: Driver, monkeypatch: pytest.MonkeyPatch, copy_from: int) -> None:
    """By COPY and by rowset alike: control characters, backslashes, NULL and the word for it, empty text, times."""
    monkeypatch.setattr(inserts, "COPY_FROM", copy_from)
    body = {"prompt": NASTY, "list": [1, None, 1.5, True, ""], "empty": {}}
    jobs = [
        make_new_job(body=body, input={"prompt": NASTY}, custom_id=NASTY, tags={"a\\": "\t"}, not_before=START + HOUR),
        make_new_job(body={}, input={}, custom_id="", price=None),
        make_new_job(custom_id=None),
    ]
    driver.add(*jobs)
    for new in jobs:
        job = driver.get(new.id)
        assert (job.body, job.input, job.tags) == (new.body, new.input, new.tags)
        assert (job.custom_id, job.price, job.created_at) == (new.custom_id, new.price, START)
        assert job.due_at == (new.not_before or START)


def test_a_refusal_is_told_in_our_words_and_nothing_stays(driver: Driver) -> None:
    """A duplicate among many: no exception of the driver leaves, and no row of the transaction is kept."""
    batch = make_batch()
    driver.batches.create(batch)
    jobs = [make_new_job(line_number=line) for line in range(1, inserts.COPY_FROM + 2)]
    jobs[-1] = replace(jobs[-1], id=jobs[0].id)
    with pytest.raises(Permanent):
        driver.batches.add_jobs(batch.id, jobs, actor="local")
    assert driver.batches.list_members(batch.id) == []
