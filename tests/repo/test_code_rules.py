"""Rules of the design that a linter does not know; each names the file and line that breaks it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.audit import RULES
from tests.repo.sources import ROOT, dotted_name, parse, place, python_files, walk

CLOCK_CALLS = re.compile(
    r"(datetime\.)?(datetime\.(now|utcnow|today)|date\.today)"
    r"|time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|sleep|clock_gettime|gmtime|localtime)"
)
CHANCE_CALLS = re.compile(r"random\.(?!Random$)\w+|uuid\.uuid[14]|uuid[14]|os\.urandom|secrets\.\w+")
CELERY_KEYWORDS = {"eta", "countdown", "autoretry_for", "retry_backoff", "retry_kwargs", "max_retries"}
PROVIDER_WORDS = re.compile(
    r"cogvideox|cogview-|glm-(image|asr)|vidu(q1|2)-|/(async-result|(images|videos)/generations)\b"
)
# Where provider words belong, and the tables of settings whose defaults name models.
PROVIDER_ROOMS = ("orchestrator/zai/", "orchestrator/sandbox/", "orchestrator/config.py")
ENVIRONMENT_ROOMS = ("orchestrator/config.py",)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_import_contract_holds() -> None:
    """Shells, wiring, services, adapters and domain import only downwards (pyproject: tool.importlinter)."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_domain_and_services_get_the_time_passed_in() -> None:
    """Nobody there asks a clock or sleeps: the clock port does."""
    found = [
        place(path, node)
        for path, node in walk("orchestrator/domain", "orchestrator/services")
        if isinstance(node, ast.Attribute) and CLOCK_CALLS.fullmatch(dotted_name(node))
    ]
    assert found == []


def test_domain_and_services_get_chance_passed_in() -> None:
    """Nobody there draws a random number or id of his own: a generator is an argument."""
    found = [
        place(path, node)
        for path, node in walk("orchestrator/domain", "orchestrator/services")
        if isinstance(node, ast.Attribute | ast.Name) and CHANCE_CALLS.fullmatch(dotted_name(node))
    ]
    assert found == []


def test_no_time_without_a_zone() -> None:
    """`utcnow` and friends make times that compare wrongly."""
    found = [
        place(path, node)
        for path, node in walk("orchestrator", "tests", "migrations")
        if isinstance(node, ast.Attribute) and node.attr in ("utcnow", "utcfromtimestamp")
    ]
    assert found == []


def test_celery_never_schedules_or_retries() -> None:
    """The database says what is due; a message in the broker is only a wake-up."""
    keywords = [
        place(path, node)
        for path, node in walk("orchestrator")
        if isinstance(node, ast.keyword) and node.arg in CELERY_KEYWORDS and "sandbox" not in path.parts
    ]
    retries = [
        place(path, node)
        for path, node in walk("orchestrator")
        if isinstance(node, ast.Attribute) and dotted_name(node) == "self.retry"
    ]
    assert keywords + retries == []


def test_only_config_reads_the_environment() -> None:
    """Settings are read once, in one place, and handed in."""
    found = [
        place(path, node)
        for path, node in walk("orchestrator")
        if relative(path) not in ENVIRONMENT_ROOMS
        and isinstance(node, ast.Attribute)
        and dotted_name(node) in ("os.environ", "os.getenv", "os.environb")
    ]
    assert found == []


def test_provider_words_stay_with_the_provider() -> None:
    """No model, path or code of Z.ai outside its adapter and its simulator; docstrings and help texts may name them."""
    found = []
    for path in python_files("orchestrator"):
        if relative(path).startswith(PROVIDER_ROOMS):
            continue
        tree = parse(path)
        spoken = docstrings(tree) | help_texts(tree)
        found += [
            f"{place(path, node)} {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken
            and PROVIDER_WORDS.search(node.value)
        ]  # fmt: skip
    assert found == []


def test_no_error_is_swallowed() -> None:
    """A handler for every error does something with it: raises, records or answers."""
    found = [
        place(path, node)
        for path, node in walk()
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and does_nothing(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "swallows"),
    [
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept: pass", True),
        ("for x in y:\n  try: f()\n  except (ValueError, Exception): continue", True),
        ("def g():\n  try: f()\n  except BaseException: return None", True),
        ("try: f()\nexcept Exception as e: log(e)", False),
        ("try: f()\nexcept Exception: raise", False),
        ("try: f()\nexcept ValueError: pass", False),
    ],
)
def test_a_swallowed_error_is_recognised(code: str, swallows: bool) -> None:
    """The rule above sees what it is for."""
    handler = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ExceptHandler))
    assert (catches_everything(handler) and does_nothing(handler)) is swallows


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(dotted_name(each) in ("Exception", "BaseException") for each in caught)


def does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(step, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        or (isinstance(step, ast.Return) and (step.value is None or isinstance(step.value, ast.Constant)))
        for step in handler.body
    )


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    owners = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    first = [owner.body[0] for owner in owners if owner.body]
    return {id(step.value) for step in first if isinstance(step, ast.Expr)}


def help_texts(tree: ast.Module) -> set[int]:
    """Return the ids of the constants inside help=, metavar= and epilog= arguments."""
    spoken = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in ("help", "short_help", "metavar", "epilog")
    ]
    return {id(inner) for value in spoken for inner in ast.walk(value)}


def test_the_providers_codes_stay_in_its_adapter() -> None:
    """Design section 4: nothing but zai/ (and the simulator) knows a business code; rules hold them as values."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in python_files("orchestrator")
        if not {"zai", "sandbox"} & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"1[0-37]\d\d", node.value)
    ]
    assert found == []


def test_every_finding_has_its_rule_and_every_rule_is_checked() -> None:
    """The doctor's codes: none is told of without words, none is listed that nothing looks for."""
    named = {
        argument.value
        for path, node in walk("orchestrator")
        if isinstance(node, ast.Call) and dotted_name(node.func) in ("Violation", "RowRule", "find_each")
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value in RULES
    }
    computed = {"output_expired", "output_at_risk", "journal_unmatched", "journal_unlinked"}
    assert set(RULES) - named == computed
