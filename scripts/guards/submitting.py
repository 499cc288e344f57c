"""The submit claim: intent before the send, slots, pauses with their probes, the stop for too many unknowns."""

from __future__ import annotations

from scripts.guards.guard import Guard

CLAIM = "orchestrator/db/submit_claim.py"
PAUSES = "orchestrator/db/pauses.py"
SLOTS = "orchestrator/db/slots.py"
SETTLING = "orchestrator/db/settling.py"

GUARDS = (
    Guard(
        name="intent before the send",
        promise="What is about to be paid stands in the table first.",
        file=CLAIM,
        kept="    insert_many(connection, SUBMISSIONS, submissions)\n",
        removed="",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="slots are counted under the lock",
        promise="Processes that claim at once never exceed a limit.",
        file=CLAIM,
        kept="    states = pauses.lock(connection, PauseLane.SUBMIT, scopes)\n",
        removed="    states = pauses.load_states(connection, PauseLane.SUBMIT, window.credential)\n",
        tests=("tests/db/test_races.py",),
    ),
    Guard(
        name="slots are counted in a statement of their own",
        promise="A claim that waited for the lock sees what was committed meanwhile.",
        file=CLAIM,
        kept="""    states = pauses.lock(connection, PauseLane.SUBMIT, scopes)
    now = database.now(connection)
    gates = {scope: gate_of(state, now) for scope, state in states.items()}
    room = find_room(connection, window, models, gates, now=now)
""",
        removed="""    now = database.now(connection)
    states = pauses.load_states(connection, PauseLane.SUBMIT, window.credential)
    gates = {scope: gate_of(state, now) for scope, state in states.items()}
    room = find_room(connection, window, models, gates, now=now)
    pauses.lock(connection, PauseLane.SUBMIT, scopes)
""",
        tests=("tests/db/test_races.py",),
    ),
    Guard(
        name="a slot limit per model",
        promise="A model never has more requests in flight than its limit.",
        file=CLAIM,
        kept="window.slots.get(EVERY_MODEL_ELSE, 1)) - held.get(model, 0)",
        removed="window.slots.get(EVERY_MODEL_ELSE, 1))",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="a cap over all models",
        promise="--concurrency binds all models together.",
        file=CLAIM,
        kept="    if window.total_slots is not None:\n",
        removed="    if window.total_slots is None and total < 0:\n",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="the window bounds a claim",
        promise="One process never holds more calls than it can make.",
        file=CLAIM,
        kept="sorted(found), held, limit=room.total)",
        removed="sorted(found), held, limit=1_000_000)",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="a job that moved is left out of the claim",
        promise="A cancel or a late task id between pick and move is never paid over.",
        file=CLAIM,
        kept="JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source, is_due)",
        removed="JOBS.c.id == rows.c.id, is_due)",
        tests=("tests/db/test_guards.py",),
    ),
    Guard(
        name="a job that is not due is left out of the claim",
        promise="A job put off between pick and move waits for its time.",
        file=CLAIM,
        kept="JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source, is_due)",
        removed="JOBS.c.id == rows.c.id, JOBS.c.state == rows.c.source)",
        tests=("tests/db/test_guards.py", "tests/db/test_submit_claim.py"),
    ),
    Guard(
        name="the lease outlasts the call",
        promise="No lease ends while its call may still be sent.",
        file=CLAIM,
        kept="now + window.deadlines[kind] + window.margin for",
        removed="now + window.deadlines[kind] for",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="a task that is polled holds its slot",
        promise="A task that outlives every estimate still counts for its limit.",
        file=SLOTS,
        kept="        holds = or_(holds, polled)\n",
        removed="        holds = or_(holds, polled & holds)\n",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="an unknown holds its slot",
        promise="A call that may have been taken counts until its assumed life ends.",
        file="orchestrator/db/evidence.py",
        kept="    if verdict in SURE_REFUSALS or verdict in (Verdict.ANSWERED, Verdict.FAILED):\n",
        removed="    if verdict in SURE_REFUSALS or verdict is not Verdict.ACCEPTED:\n",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="too many unknowns stop submitting",
        promise="When answers go missing, money stops first.",
        file=CLAIM,
        kept="    if count_unknowns(connection, window.credential, now=now) >= window.max_unknown_per_hour:\n        return Room({}, 0)\n",
        removed="",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="only the last hour's unknowns stop submitting",
        promise="Submitting goes on by itself once the hour has passed.",
        file=SLOTS,
        kept='        SUBMISSIONS.c.verdict_at > bindparam("since", type_=Utc()),\n',
        removed="        SUBMISSIONS.c.verdict_at.is_not(None),\n",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="a paused account is left alone",
        promise="An account that was refused gets no further call.",
        file=CLAIM,
        kept="    if gates.get(whole) is Gate.CLOSED:\n        return Room({}, 0)\n",
        removed="",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a paused model is left alone",
        promise="A model that was refused gets no further call.",
        file=CLAIM,
        kept="per_model[model] = 0 if gate is Gate.CLOSED else min(free, 1)",
        removed="per_model[model] = min(free, 1)",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="one probe ends a model's pause",
        promise="A passed pause is tried with one job, not with all.",
        file=CLAIM,
        kept="min(free, 1) if gate is Gate.PROBE else free",
        removed="free",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="one probe ends an account's pause",
        promise="A passed pause of an account is tried with one job over all models.",
        file=CLAIM,
        kept="    if gates.get(whole) is Gate.PROBE:\n        total = min(total, 1)\n",
        removed="",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a probe that is out keeps the gate closed",
        promise="Until the probe has been answered nobody else goes.",
        file=PAUSES,
        kept="    if state.until > now or state.probe_id is not None:\n",
        removed="    if state.until > now:\n",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a probe is remembered",
        promise="The answer that ends a pause is the probe's own.",
        file=CLAIM,
        kept="    _note_probes(connection, submissions, room)\n",
        removed="",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a probe without an answer ends nothing",
        promise="An unknown, an unsent or a lapsed probe puts the pause ahead.",
        file=PAUSES,
        kept="    until = None if is_answered else now + INCONCLUSIVE_WAIT\n",
        removed="    until = None if is_answered or now else now + INCONCLUSIVE_WAIT\n",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a shorter refusal does not shorten a pause",
        promise="The longest pause that was asked for stands.",
        file=PAUSES,
        kept="    until = pause.until if current.until is None else max(pause.until, current.until)\n",
        removed="    until = pause.until if current.until is None else pause.until\n",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="another job's answer ends no pause",
        promise="Only the probe speaks for the pause.",
        file=SETTLING,
        kept="        if state.probe_id != report.submission_id or scope == paused:\n            continue\n",
        removed="        if scope == paused:\n            continue\n",
        tests=("tests/db/test_pauses.py", "tests/db/test_settling.py"),
    ),
    Guard(
        name="polls of a paused scope wait",
        promise="A poll pause holds every poll but its probe.",
        file="orchestrator/db/lane_claims.py",
        kept="_due_polls(now, begin).where(*(not_(is_of(scope)) for scope in closed))",
        removed="_due_polls(now, begin)",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a dead poll probe lets the pause be tried again",
        promise="A pause does not last for ever because its probe died.",
        file="orchestrator/db/lane_claims.py",
        kept="        if state.probe_id is not None and state.probe_id not in alive:\n",
        removed="        if state.probe_id is not None and state.probe_id is None:\n",
        tests=("tests/db/test_pauses.py",),
    ),
    Guard(
        name="a submit refusal pauses submitting only",
        promise="A throttled submit does not stop the polls of what is paid for.",
        file="orchestrator/domain/decide/submit.py",
        kept="pause = Pause(PauseScope.MODEL, PauseLane.SUBMIT, due, outcome.code, outcome.message)",
        removed="pause = Pause(PauseScope.MODEL, PauseLane.POLL, due, outcome.code, outcome.message)",
        tests=("tests/domain/test_decide.py",),
    ),
    Guard(
        name="an account refusal pauses the account",
        promise="A key that is refused is tried by one job, not by a thousand.",
        file="orchestrator/domain/decide/submit.py",
        kept="pause = Pause(PauseScope.CREDENTIAL, PauseLane.SUBMIT, due, outcome.code, outcome.message)",
        removed="pause = None",
        tests=("tests/domain/test_decide.py",),
    ),
    Guard(
        name="fair turns",
        promise="A batch of thousands does not keep a small one waiting.",
        file="orchestrator/db/turns.py",
        kept="key=lambda head: (served.get(head.fair_key) or NEVER, head.due_at, head.job_id))[:limit]",
        removed="key=lambda head: (head.due_at, head.job_id))[:limit]",
        tests=("tests/db/test_submit_claim.py",),
    ),
    Guard(
        name="run submits its own batch only",
        promise="`run FILE` pays for the jobs of that file and no others.",
        file="orchestrator/db/turns.py",
        kept='jobs.c.fair_key.in_(bindparam("fair_keys", expanding=True)), member.exists())',
        removed='jobs.c.fair_key.in_(bindparam("fair_keys", expanding=True)))',
        tests=("tests/db/test_submit_claim.py",),
    ),
)
