"""Webhooks: what is sent is signed, bounded and never taken for delivered too early; secrets stay sealed."""

from __future__ import annotations

from scripts.guards.guard import Guard

SENDER = "orchestrator/webhooks/sender.py"
REDACTION = "orchestrator/webhooks/redaction.py"
SIGNING = "orchestrator/webhooks/signing.py"
SEALING = "orchestrator/webhooks/sealing.py"
KEYFILE = "orchestrator/webhooks/keyfile.py"
POST = "orchestrator/egress/post.py"
KEPT = "orchestrator/egress/kept.py"
RESOLVE = "orchestrator/egress/resolve.py"
DELIVERIES = "orchestrator/domain/deliveries.py"
SENDING = ("tests/webhooks/test_sending.py",)
SIGNED = ("tests/webhooks/test_signing.py",)
SEALED = ("tests/webhooks/test_sealing.py",)
DECIDED = ("tests/domain/test_deliveries.py",)
RESOLVED = ("tests/egress/test_resolve.py",)

GUARDS = (
    Guard(
        name="only a used-up schedule disables",
        promise="Days in which nothing was tried cost no event its attempts (promise 8, F14).",
        file=DELIVERIES,
        kept="    if attempt < len(SCHEDULE):\n",
        removed="    if attempt < len(SCHEDULE) and (failing_since is None or now - failing_since < DISABLE_AFTER):\n",
        tests=DECIDED,
    ),
    Guard(
        name="slow endpoints share the failing's places",
        promise="Receivers that answer after ten seconds leave half of the places to the others (F2).",
        file="orchestrator/db/deliveries.py",
        kept="        if row.failing_since is not None or row.id in window.slow:\n",
        removed="        if row.failing_since is not None:\n",
        tests=("tests/db/test_deliveries.py::test_endpoints_that_are_slow_share_half_of_the_places_too",),
    ),
    Guard(
        name="a rotation waits for the one before",
        promise="The former secret signs until its promised end (F11).",
        file="orchestrator/db/endpoints.py",
        kept="                _require_no_overlap(endpoint, now)\n",
        removed="                pass\n",
        tests=("tests/db/test_deliveries.py::test_a_second_rotation_waits_for_the_first",),
    ),
    Guard(
        name="a webhook has one deadline",
        promise="Connecting, sending and reading end together, whatever dribbles in (F3).",
        file=POST,
        kept="                asyncio.timeout(deadline.total_seconds()),\n",
        removed="                asyncio.timeout(None),\n",
        tests=("tests/webhooks/test_sending.py::test_a_slow_receiver_is_cut_at_the_total_deadline",),
        hangs=True,
    ),
    Guard(
        name="an answer is read to its cap",
        promise="64 KB and no further (F4).",
        file=POST,
        kept="            if len(self._body) >= self._max_bytes:\n",
        removed="            if len(self._body) < 0:\n",
        tests=("tests/webhooks/test_sending.py::test_what_is_read_is_handed_on_to_the_cap_and_no_further",),
    ),
    Guard(
        name="a 2xx that was cut is not delivered",
        promise="Its end did not come: sent again with the same id (F8).",
        file=SENDER,
        kept="    if posted.trouble is not None:\n",
        removed="    if posted.trouble is not None and posted.status != 200:\n",
        tests=SENDING,
    ),
    Guard(
        name="only 2xx is delivered",
        promise="A redirect or a refusal is a failure (F5).",
        file=SENDER,
        kept="    if not 200 <= posted.status < 300:\n",
        removed="    if not 200 <= posted.status < 600:\n",
        tests=SENDING,
    ),
    Guard(
        name="a fresh connection is not asked twice",
        promise="Only a kept connection that was dead is a reason to send again within an attempt (F8).",
        file=KEPT,
        kept="        if not REUSED.get():\n",
        removed="        if REUSED.get() is None:\n",
        tests=SENDING,
    ),
    Guard(
        name="a dead kept connection is no failure",
        promise="The receiver closed it when nothing was under way.",
        file=KEPT,
        kept="        if not REUSED.get():\n            raise\n        return None\n",
        removed="        raise\n",
        tests=SENDING,
    ),
    Guard(
        name="connections are kept for one name",
        promise="TLS has checked a connection for the name it was made for (F18).",
        file=KEPT,
        kept="(admitted.target.scheme, admitted.target.authority, admitted.addresses)",
        removed="(admitted.target.scheme, admitted.target.port, admitted.addresses)",
        tests=SENDING,
    ),
    Guard(
        name="a dead name holds one thread",
        promise="A hundred events for a name that nobody answers for leave the threads to the others (promise 9).",
        file=RESOLVE,
        kept="self._under_way.get((host, port)) or self._ask((host, port))",
        removed="self._ask((host, port))",
        tests=RESOLVED,
        hangs=True,
    ),
    Guard(
        name="names that answer have places of their own",
        promise="However many strange names hang, an endpoint that worked is looked up (promise 9).",
        file=RESOLVE,
        kept="self._places[key in self._answering]",
        removed="self._places[False]",
        tests=RESOLVED,
        hangs=True,
    ),
    Guard(
        name="patience with a name has an end",
        promise="Whoever waits for a name that hangs is told, and asks for no second thread (promise 9).",
        file=RESOLVE,
        kept="await asyncio.wait([thread], timeout=self._patience)",
        removed="await asyncio.wait([thread])",
        tests=RESOLVED,
        hangs=True,
    ),
    Guard(
        name="secrets of an answer are struck out",
        promise="What is kept of an answer lets nobody in (I3).",
        file=REDACTION,
        kept="redact_secrets(redact_links(text))",
        removed="redact_links(text)",
        tests=SENDING,
    ),
    Guard(
        name="the endpoint's own query is struck out",
        promise="A token in the URL does not come back through an answer (I3).",
        file=REDACTION,
        kept="        text = text.replace(part, STRUCK)\n",
        removed="        text = str(text)\n",
        tests=SENDING,
    ),
    Guard(
        name="an escaped secret is found",
        promise="A token that comes back in the escapes of JSON, HTML or a URL is struck out too (I3).",
        file=REDACTION,
        kept="    if any(part in plain for part in hidden) and plain != text:\n",
        removed="    if any(part in plain for part in hidden) and not text:\n",
        tests=("tests/webhooks/test_redaction.py",),
    ),
    Guard(
        name="what is kept of an answer is inert",
        promise="No control characters in the delivery log (I13).",
        file=SENDER,
        kept='for sign in text if sign.isprintable() or sign in "\\n\\t")',
        removed="for sign in text)",
        tests=SENDING,
    ),
    Guard(
        name="an old message does not verify",
        promise="Nobody plays a recorded event again after five minutes.",
        file=SIGNING,
        kept="    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():\n",
        removed="    if int(timestamp) < 0:\n",
        tests=SIGNED,
    ),
    Guard(
        name="nothing is sent unsigned",
        promise="An endpoint without a secret gets nothing.",
        file=SIGNING,
        kept="    if not signatures:\n",
        removed="    if signatures is None:\n",
        tests=SIGNED,
    ),
    Guard(
        name="a sealed secret belongs to its endpoint",
        promise="Rows cannot be swapped.",
        file=SEALING,
        kept="raw[NONCE_BYTES:], endpoint_id.encode())",
        removed="raw[NONCE_BYTES:], b'we_1')",
        tests=SEALED,
    ),
    Guard(
        name="the key is its owner's only",
        promise="A key that others may use is refused (I15).",
        file=KEYFILE,
        kept="        if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:\n",
        removed="        if stat.S_IMODE(os.fstat(handle).st_mode) & 0:\n",
        tests=SEALED,
    ),
    Guard(
        name="the key is not read through a link",
        promise="Nobody else chooses the file (I15).",
        file=KEYFILE,
        kept="os.O_RDONLY | os.O_NOFOLLOW",
        removed="os.O_RDONLY",
        tests=SEALED,
    ),
    Guard(
        name="an emptied key is told",
        promise="A lost key is not replaced: what it sealed would be lost with it.",
        file=KEYFILE,
        kept="    if len(key) < KEY_BYTES:\n",
        removed="    if len(key) < 0:\n",
        tests=SEALED,
    ),
    Guard(
        name="a fleet shares its key",
        promise="A key made on one host would open nothing on the next.",
        file="orchestrator/wiring/webhooks.py",
        kept='    if settings.secret_key is None and not settings.database.startswith("sqlite"):\n        raise ConfigError(',
        removed='    if settings.database == "":\n        raise ConfigError(',
        tests=("tests/webhooks/test_wiring.py",),
    ),
    Guard(
        name="jitter is only added",
        promise="Nothing is tried before its time, and 75 hours stay 75 hours.",
        file=DELIVERIES,
        kept="rng.uniform(1, 1 + JITTER)",
        removed="rng.uniform(1 - JITTER, 1 + JITTER)",
        tests=DECIDED,
    ),
    Guard(
        name="a wish to wait is bounded",
        promise="Retry-After: 1000000000 does not park a delivery for 30 years (F7).",
        file=DELIVERIES,
        kept="    wish = min(max(at_least or timedelta(0), timedelta(0)), LONGEST_RETRY_AFTER)\n",
        removed="    wish = max(at_least or timedelta(0), timedelta(0))\n",
        tests=DECIDED,
    ),
    Guard(
        name="410 disables at once",
        promise="Who says that he is gone is not asked again.",
        file=DELIVERIES,
        kept="    if sent.status == GONE:\n",
        removed="    if sent.status == -GONE:\n",
        tests=DECIDED,
    ),
    Guard(
        name="a value of the endpoint's query is struck out alone",
        promise="A receiver that repeats a token without the rest of the query tells nobody (I3).",
        file=REDACTION,
        kept="        if len(value) >= SHORTEST_TOKEN:\n",
        removed="        if len(value) > len(query):\n",
        tests=SENDING,
    ),
    Guard(
        name="what is kept is cut last",
        promise="Half of a secret at the cut is not kept (I3).",
        file=SENDER,
        kept="redact_echo(body.decode(",
        removed="redact_echo(body[:KEPT_BYTES].decode(",
        tests=SENDING,
    ),
    Guard(
        name="an old secret that does not open keeps nothing back",
        promise="Rotating after the key was lost signs with the new secret at once (F11).",
        file="orchestrator/services/lanes/deliver.py",
        kept="            return signing\n\n    def apply",
        removed="            raise\n\n    def apply",
        tests=("tests/db/test_deliveries.py::test_a_rotation_after_the_key_was_lost_signs_at_once",),
    ),
)
