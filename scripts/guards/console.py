"""The console: who is let in, from where, and what many jobs at once may cost."""

from __future__ import annotations

from scripts.guards.guard import Guard

GUARD = "orchestrator/console/guard.py"
SESSION = "orchestrator/console/session.py"
BULK = "orchestrator/console/routes/bulk.py"
ACCESS = ("tests/console/test_access.py",)
ACTING = ("tests/console/test_acting.py",)

GUARDS = (
    Guard(
        name="wrong keys are counted at the login",
        promise="Who is wrong too often is told to stop.",
        file="orchestrator/console/routes/login.py",
        kept="        if seconds is None:\n",
        removed="        if True:\n",
        tests=("tests/console/test_attempts.py",),
    ),
    Guard(
        name="wrong keys keep nobody else out",
        promise="A right key opens the console, however many wrong ones came before it.",
        file="orchestrator/console/routes/login.py",
        kept="    seconds = attempts.begin(address)\n    try:\n",
        removed="    seconds = attempts.begin(address)\n    try:\n        if seconds is not None:\n            raise AccessDenied\n",
        tests=("tests/console/test_attempts.py",),
    ),
    Guard(
        name="a form comes from a page of the console",
        promise="Another site's page makes nobody's browser do anything.",
        file=GUARD,
        kept='    if given.scheme not in ("http", "https") or given.netloc not in own:\n',
        removed="    if False:\n",
        tests=ACCESS,
    ),
    Guard(
        name="a form carries the token of its session",
        promise="Another site's page makes nobody's browser do anything.",
        file=GUARD,
        kept="        if not is_same(visitor.csrf, csrf or x_csrf_token):\n",
        removed="        if False:\n",
        tests=ACCESS,
    ),
    Guard(
        name="a session ends with its key",
        promise="Who holds a revoked key, or a login made with it, is out at the next click.",
        file="orchestrator/services/access.py",
        kept="    return key.principal if key is not None and key.is_good(now) else None\n",
        removed="    return key.principal if key is not None else None\n",
        tests=ACCESS,
    ),
    Guard(
        name="a session ends in time",
        promise="A cookie that was copied is worth nothing after half a day.",
        file=SESSION,
        kept="    return session if now.astimezone(UTC).timestamp() < session.expires_at else None\n",
        removed="    return session\n",
        tests=ACCESS,
    ),
    Guard(
        name="a session is signed by this installation",
        promise="Nobody makes a login up.",
        file=SESSION,
        kept='    if not is_same(_sign("console-session", session, server_key), found[4]):\n',
        removed="    if False:\n",
        tests=ACCESS,
    ),
    Guard(
        name="models are steered by who sees everybody",
        promise="One owner's key does not stop another owner's jobs.",
        file="orchestrator/console/routes/models.py",
        kept="    if not _sees_all(visitor):\n",
        removed="    if False:\n",
        tests=ACCESS,
    ),
    Guard(
        name="the console pays for no job that it did not show",
        promise="What is agreed to is what was shown.",
        file=BULK,
        kept="    if digest_of(plan) != paid:\n",
        removed="    if False:\n",
        tests=ACTING,
    ),
    Guard(
        name="the console changes no job that came after it asked",
        promise="What is agreed to is what was shown.",
        file=BULK,
        kept="    plan = _up_to(_plan(desk, visitor.caller, action, q), newest)\n",
        removed="    plan = _plan(desk, visitor.caller, action, q)\n",
        tests=ACTING,
    ),
)
