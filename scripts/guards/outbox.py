"""The outbox and the deliver lane: nobody writes without the lease, nobody is held back, nobody hears what ended."""

from __future__ import annotations

from scripts.guards.guard import Guard

RESULTS = "orchestrator/db/delivery_results.py"
CLAIMS = "orchestrator/db/deliveries.py"
OUTBOX = "orchestrator/db/outbox.py"
LANE = "orchestrator/services/lanes/deliver.py"
TESTS = "tests/db/test_deliveries.py"
AT_RISK = "orchestrator/db/at_risk.py"
RISKS = "tests/db/test_at_risk.py"

GUARDS = (
    Guard(
        name="a turn is written by its holder",
        promise="Whoever was replaced, or whose endpoint was disabled, marks nothing (F10).",
        file=RESULTS,
        kept=' if row["lease_token"] == tokens[row["id"]]}',
        removed="}",
        tests=(f"{TESTS}::test_whoever_lost_the_lease_writes_nothing",),
    ),
    Guard(
        name="a leased endpoint is left alone",
        promise="Two workers never send to one endpoint at once.",
        file=CLAIMS,
        kept="    is_idle = or_(ENDPOINTS.c.leased_until.is_(None), ENDPOINTS.c.leased_until <= now)\n",
        removed="    is_idle = true()\n",
        tests=(f"{TESTS}::test_renewed_leases_stay_ours",),
    ),
    Guard(
        name="a waiting endpoint is looked up once",
        promise="Wrong statistics do not make a claim read all that waits for each endpoint (F17).",
        file=CLAIMS,
        kept=".where(is_theirs, condition).limit(1).lateral(",
        removed=".where(is_theirs, condition).lateral(",
        tests=(f"{TESTS}::test_ten_thousand_endpoints_take_turns",),
    ),
    Guard(
        name="a held turn of a slow endpoint takes of the share",
        promise="Slow receivers hold no more than half of the places from the first second on (F2).",
        file=LANE,
        kept="        is_slow = endpoint.id in self._slow or ",
        removed="        is_slow = ",
        tests=(f"{TESTS}::test_endpoints_that_are_slow_share_half_of_the_places_too",),
    ),
    Guard(
        name="failing endpoints share half",
        promise="However many receivers are dead, those that work have places (F2).",
        file=CLAIMS,
        kept="            if failing_left <= 0:\n                continue\n",
        removed="",
        tests=(f"{TESTS}::test_endpoints_that_only_fail_share_half_of_the_places",),
    ),
    Guard(
        name="what takes nothing rests",
        promise="An endpoint that refuses at once has a turn every few seconds, and does not keep the lane busy (F2).",
        file=RESULTS,
        kept=" (rows.c.is_tried, rows.c.rested),",
        removed="",
        tests=(f"{TESTS}::test_an_endpoint_that_took_nothing_rests",),
    ),
    Guard(
        name="whoever waited longest is next",
        promise="Every endpoint is served once before any is served again (F17).",
        file=CLAIMS,
        kept="due.order_by(waiting.c.leased_until.nulls_first(), waiting.c.id)",
        removed="due.order_by(waiting.c.id)",
        tests=(f"{TESTS}::test_ten_thousand_endpoints_take_turns",),
    ),
    Guard(
        name="what a disabled endpoint still has is cancelled",
        promise="A state that changed in the moment of disabling leaves nothing behind (F10).",
        file=CLAIMS,
        kept="        cancel_pending(connection, stale, now=now)\n",
        removed="        pass\n",
        tests=(f"{TESTS}::test_what_slips_in_while_an_endpoint_is_disabled_is_cancelled",),
    ),
    Guard(
        name="a disabled endpoint hears nothing",
        promise="No event is queued for an endpoint that takes none (F6).",
        file=OUTBOX,
        kept=" & ENDPOINTS.c.is_global & ENDPOINTS.c.disabled_at.is_(None)\n    return _select_listeners",
        removed=" & ENDPOINTS.c.is_global\n    return _select_listeners",
        tests=(f"{TESTS}::test_410_disables_and_cancels_what_is_queued",),
    ),
    Guard(
        name="the old secret ends",
        promise="After the overlap only the new secret signs (F11).",
        file=LANE,
        kept=" or at >= kept.previous_until:",
        removed=":",
        tests=(f"{TESTS}::test_both_secrets_sign_while_one_replaces_the_other",),
    ),
    Guard(
        name="a stop writes what was answered",
        promise="What a receiver has taken is not sent again after an abort.",
        file=LANE,
        kept="        self.apply(list(held))\n",
        removed="        self.apply([DeliverWork(work.turn, work.time) for work in held])\n",
        tests=(f"{TESTS}::test_a_stop_half_way_writes_what_was_answered",),
    ),
    Guard(
        name="one success starts the five days anew",
        promise="An endpoint that answers now and then is not disabled (F14).",
        file=RESULTS,
        kept="        (rows.c.is_well, null()),\n",
        removed="",
        tests=(f"{TESTS}::test_one_success_resets_the_five_days",),
    ),
    Guard(
        name="a hostile webhook is refused at intake",
        promise="A URL that leads inside is a fault of its line (H18).",
        file="orchestrator/services/jobfile/check.py",
        kept=", *judge_webhook(request.webhook, judge)]",
        removed="]",
        tests=("tests/services/intake/test_webhooks.py",),
    ),
    Guard(
        name="a job is told to be at risk once",
        promise="A link that is asked for again raises no second event (promise 7).",
        file=AT_RISK,
        kept='    new = [row for row in dying if row["job_id"] not in told]\n',
        removed="    new = list(dying)\n",
        tests=(RISKS,),
    ),
    Guard(
        name="a link that died before its turn is told of",
        promise="More jobs at risk than one sweep takes: none is forgotten (promise 7).",
        file=AT_RISK,
        kept="(OUTPUTS.c.source_expires_at <= now) & ~_is_of_live(), now)",
        removed="OUTPUTS.c.source_expires_at <= now, now)",
        tests=(RISKS,),
    ),
    Guard(
        name="the same link again keeps its half",
        promise="Asking for a link again does not put the alarm off (promise 7).",
        file="orchestrator/db/inserts.py",
        kept="case((table.c[owner] == new[owner], table.c[name]), else_=new[name])",
        removed="new[name]",
        tests=(RISKS,),
    ),
)
