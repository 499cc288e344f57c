"""Guards of retention: what keeps results that are still needed, and what is gone from being promised."""

from __future__ import annotations

from scripts.guards.guard import Guard

TESTS = ("tests/services/test_retention.py", "tests/domain/test_retention.py", "tests/cli/test_retention.py")
TABLE = "orchestrator/db/retention.py"
RULES = "orchestrator/domain/retention.py"

GUARDS = (
    Guard(
        name="a hold stands over every rule",
        promise="Nothing goes that a hold keeps.",
        file=RULES,
        kept="    return rule.keep is None, rule.selector.field, rule.keep or timedelta()\n",
        removed="    return False, rule.selector.field, rule.keep or timedelta()\n",
        tests=TESTS,
    ),
    Guard(
        name="a rule is agreed to before the sweep carries it out",
        promise="Nothing goes before somebody has seen what.",
        file="orchestrator/services/archive/retention.py",
        kept="    agreed = [rule for rule in rules if rule.agreed_at is not None or rule.keep is None]\n",
        removed="    agreed = list(rules)\n",
        tests=TESTS,
    ),
    Guard(
        name="a changed rule is agreed to anew",
        promise="Nothing goes before somebody has seen what.",
        file=TABLE,
        kept="replace(rule, created_at=now, agreed_at=None)",
        removed="replace(rule, created_at=now, agreed_at=now)",
        tests=TESTS,
    ),
    Guard(
        name="what is still to be told is not erased",
        promise="Every completion event reaches every endpoint with what it tells of.",
        file=TABLE,
        kept="taken.where(~is_being_told, ~is_awaited)",
        removed="taken.where(~is_awaited)",
        tests=TESTS,
    ),
    Guard(
        name="what another job waits for is not erased",
        promise="A job that depends on another finds what that one made.",
        file=TABLE,
        kept="taken.where(~is_being_told, ~is_awaited)",
        removed="taken.where(~is_being_told)",
        tests=TESTS,
    ),
    Guard(
        name="objects go after the row says so, until they are gone",
        promise="An archive that refuses is gone on with.",
        file="orchestrator/services/archive/retention.py",
        kept='                done.failures.append(f"{job.id}: {error}")\n                return\n',
        removed='                done.failures.append(f"{job.id}: {error}")\n',
        tests=TESTS,
    ),
    Guard(
        name="an erased job is not tried again",
        promise="Nothing is paid for without a request.",
        file="orchestrator/domain/decide/person.py",
        kept="    if job.erased_at is not None:\n",
        removed="    if job.erased_at is None and not job.id:\n",
        tests=TESTS,
    ),
    Guard(
        name="an erased job answers no line",
        promise="What was taken away is not given as a result.",
        file="orchestrator/db/equal_jobs.py",
        kept=", JOBS.c.erased_at.is_(None))",
        removed=")",
        tests=TESTS,
    ),
    Guard(
        name="words go from what was told",
        promise="An erasure takes the prompt away everywhere.",
        file=TABLE,
        kept="    _empty_events(connection, job_id)\n",
        removed="",
        tests=TESTS,
    ),
)
