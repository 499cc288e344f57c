"""The HTTP API: roles, owners, and a key that makes one job."""

from __future__ import annotations

from scripts.guards.guard import Guard

ACCESS = "orchestrator/domain/access.py"
DESK = "orchestrator/api/desk.py"
WHO = ("tests/api/test_access.py",)

GUARDS = (
    Guard(
        name="a role is asked before a route does anything",
        promise="A key does no more than its role allows.",
        file="orchestrator/api/auth.py",
        kept="        caller.require(self.capability)\n",
        removed="",
        tests=WHO,
    ),
    Guard(
        name="a known key is answered before anything is checked",
        promise="What was taken once is answered so again, whatever the settings say by now.",
        file="orchestrator/api/taking.py",
        kept="        return Got(taken, None) if taken.is_same_request else refuse_reused_key()\n",
        removed="        pass\n",
        tests=("tests/api/test_jobs.py",),
    ),
    Guard(
        name="small parts of an answer are sent at once",
        promise="No answer waits for a timer of the caller's kernel.",
        file="orchestrator/cli/serving.py",
        kept="socket.SOCK_STREAM, socket.IPPROTO_TCP)",
        removed="socket.SOCK_STREAM)",
        tests=("tests/cli/test_serving.py",),
    ),
    Guard(
        name="an owner sees its own",
        promise="Another owner's things do not exist.",
        file=ACCESS,
        kept="        return self.scope in (None, owner)\n",
        removed="        return True\n",
        tests=WHO,
    ),
    Guard(
        name="what holds for every owner is for who sees every owner",
        promise="One owner's operator does not stop the models of all.",
        file=ACCESS,
        kept="        if capability in OF_EVERY_OWNER and self.scope is not None:\n            return False\n",
        removed="",
        tests=WHO,
    ),
    Guard(
        name="a list is of one owner",
        promise="Lists leave out what belongs to others.",
        file="orchestrator/domain/query.py",
        kept='    return wanted if owner is None else Filter((Match("owner", (owner,)), *wanted.terms))\n',
        removed="    return wanted\n",
        tests=WHO,
    ),
    Guard(
        name="a resend is of one owner",
        promise="Nobody sends what belongs to others again.",
        file="orchestrator/db/endpoints.py",
        kept="            enabled = enabled.where(ENDPOINTS.c.owner == owner)\n",
        removed="            pass\n",
        tests=("tests/api/test_webhooks.py",),
    ),
    Guard(
        name="a live stream ends with its key",
        promise="A key that is revoked is told nothing more, whatever runs.",
        file="orchestrator/api/routes/events.py",
        kept="    if find_principal(desk.app.keys, caller.key_id) is None:\n        raise AccessDenied\n",
        removed="",
        tests=("tests/api/test_things.py::test_nothing_is_told_live_to_a_key_that_is_revoked",),
    ),
    Guard(
        name="a job that was made is told",
        promise="Nobody pays twice because the database went away while they waited.",
        file="orchestrator/api/waiting.py",
        kept="            if known is None:\n                raise\n            return known\n",
        removed="            raise\n",
        tests=("tests/api/test_jobs.py",),
    ),
    Guard(
        name="the bill is added up from the ledger",
        promise="A job that was paid for twice counts twice.",
        file="orchestrator/db/charges.py",
        kept="    SUBMISSIONS.c.final_answer.is_distinct_from(FinalAnswer.FAIL),\n",
        removed="    SUBMISSIONS.c.final_answer.is_(None),\n",
        tests=("tests/db/test_usage.py",),
    ),
    Guard(
        name="a batch is added up from the ledger",
        promise="A job that was paid for twice counts twice.",
        file="orchestrator/db/batch_sums.py",
        kept="func.sum(charged_of_job())",
        removed="func.sum(JOBS.c.cost_final_micros)",
        tests=("tests/db/test_charges.py",),
    ),
    Guard(
        name="an idempotency key makes one job",
        promise="The same key with the same request is the same job, and another request with it is refused.",
        file="orchestrator/api/taking.py",
        kept="    if not taken.is_same_request:\n        return refuse_reused_key()\n",
        removed="",
        tests=("tests/api/test_taking.py",),
    ),
    Guard(
        name="a job that came over HTTP is searched too",
        promise="Every job is found by its words and tags, wherever it came from.",
        file="orchestrator/db/single_intake.py",
        kept="(JOBS, jobs), *searched, (MEMBERS",
        removed="(JOBS, jobs), (MEMBERS",
        tests=("tests/api/test_steering.py",),
    ),
    Guard(
        name="no request waits for ever",
        promise="A frozen database costs a caller a bounded wait, and the API goes on.",
        file="orchestrator/api/gate.py",
        kept="asyncio.timeout(self._answer_seconds)",
        removed="asyncio.timeout(None)",
        tests=("tests/api/test_limits.py",),
    ),
    Guard(
        name="the command line writes what is asked of a job to the audit log",
        promise="Every change stands in the audit log with who asked and why, whichever door it came through.",
        file="orchestrator/cli/noting.py",
        kept="    app.audit_log.append(AuditEntry(ACTOR, action, subject, owner, reason, count))\n",
        removed="    app.clock.now()\n",
        tests=("tests/cli/test_persons.py",),
    ),
)
