"""The dashboard and the alert rules ask for metrics and labels that the application exports, and for no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from orchestrator.api.metrics import make_metrics
from orchestrator.domain.figures import Duration, Figures, ModelPause, Totals
from tests.repo.sources import ROOT

MONITORING = ROOT / "docs" / "monitoring"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = Figures(
    at=NOW,
    jobs={("queued", "video", "m"): 1},
    oldest_queued_at=NOW,
    soonest_expiry_at=NOW,
    slots_held={"m": 1},
    pauses=[ModelPause(None, NOW, None, None)],
)
TOTALS = Totals(
    failures={("content_policy", "video", "m"): 1},
    queue_waits=[Duration("video", "m", 1.0, 1)],
    provider_times=[Duration("video", "m", 1.0, 1)],
    notice_lags=[Duration("video", "m", 1.0, 1)],
    cost_micros={"USD": 1},
)
EVERYTHING = tuple(make_metrics(LOOK, TOTALS, {"m": 1}))
"""Every metric, made of figures that leave none out."""
OF_PROMETHEUS = frozenset({"job", "instance"})
"""Labels that the scrape adds to every series."""
TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<span>\[[^\]]*\])|(?P<word>[A-Za-z_:$][\w:$]*)"""
    r"""|(?P<number>\d+(?:\.\d+)?(?:ms|[smhdwy])?)|(?P<sign>=~|!~|==|!=|<=|>=|[-+*/%^=<>(){},])|(?P<space>\s+)"""
)
GROUPERS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
OPERATORS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


def exported() -> dict[str, frozenset[str]]:
    """Return the labels of every series that `/metrics` can hold, by its name as Prometheus stores it."""
    samples = [sample for metric in EVERYTHING for sample in metric.samples]
    return {sample.name: frozenset(sample.labels) for sample in samples}


def tokens(expression: str) -> list[str]:
    found, at = [], 0
    while at < len(expression):
        match = TOKEN.match(expression, at)
        assert match is not None, f"cannot be read from here on: {expression[at:]}"
        at = match.end()
        if match.lastgroup not in ("space", "span"):
            found.append(match.group())
    return found


def uses(expression: str) -> Iterator[tuple[str, str]]:
    """Yield ("metric", its name) and ("label", a name that is matched or grouped by) of an expression."""
    words = tokens(expression)
    inside = ""
    for at, word in enumerate(words):
        before, after = words[at - 1] if at else "", words[at + 1] if at + 1 < len(words) else ""
        if word in "({" and (word == "{" or before in GROUPERS):
            inside = word
        elif word in ")}" and inside:
            inside = ""
        elif not re.fullmatch(r"[A-Za-z_:][\w:]*", word) or word in GROUPERS | OPERATORS:
            continue
        elif inside:
            yield "label", word
        elif after != "(" and after not in GROUPERS:
            yield "metric", word


def faults_of(expression: str, known: Mapping[str, frozenset[str]]) -> list[str]:
    """Return what an expression asks for that is not there."""
    found = list(uses(expression))
    metrics = [name for sort, name in found if sort == "metric"]
    unknown = [name for name in metrics if name not in known]
    labels = OF_PROMETHEUS.union(*(known.get(name, frozenset()) for name in metrics))
    return unknown + [name for sort, name in found if sort == "label" and name not in labels]


def alerts() -> dict[str, Any]:
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def panels() -> dict[str, Any]:
    document = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return {panel["title"]: panel for panel in document["panels"]}


def expressions() -> dict[str, str]:
    found = {f"alert {name}": rule["expr"] for name, rule in alerts().items()}
    for title, panel in panels().items():
        found |= {f"panel {title}, {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def test_every_expression_asks_for_what_is_exported() -> None:
    """A metric that was renamed leaves no panel empty and no alert silent for ever."""
    known = exported()
    faults = {place: found for place, text in expressions().items() if (found := faults_of(text, known))}
    assert not faults
    assert len(expressions()) > 25


def test_every_metric_is_asked_for() -> None:
    """What is exported is shown or watched, so that the examples name all there is."""
    asked = {name for text in expressions().values() for sort, name in uses(text) if sort == "metric"}
    assert set(exported()) == asked


def test_every_metric_is_explained() -> None:
    """In the table of operations.md, by the name without the suffixes of a counter or a summary."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    names = {re.sub(r"_(total|sum|count)$", "", name) for name in exported()}
    explained = set(re.findall(r"^\| `(orchestrator_\w+)`", text, re.MULTILINE))
    assert {re.sub(r"_total$", "", name) for name in explained} == names


def test_names_are_prometheus_names() -> None:
    """One prefix, base units; a counter ends in _total."""
    for metric in EVERYTHING:
        assert re.fullmatch(r"orchestrator_[a-z_]+", metric.name), metric.name
        assert not re.search(r"_(ms|millis|minutes|hours|micros|percent|total)$", metric.name), metric.name
        is_counted = metric.type == "counter"
        assert all(sample.name.endswith("_total") is is_counted for sample in metric.samples), metric.name


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("max(orchestrator_gone)", ["orchestrator_gone"]),
        ('sum by (state, color) (orchestrator_jobs{kind="video", hue=~"r.*"})', ["color", "hue"]),
        ("rate(orchestrator_cost_total[5m]) > bool 0 and on (currency) orchestrator_cost_total", []),
        ("orchestrator_cost", ["orchestrator_cost"]),
        ('orchestrator_slots_in_use{model="orchestrator_gone"} offset 5m', []),
    ],
)
def test_a_fault_is_found(expression: str, faults: list[str]) -> None:
    """The reader of expressions sees metrics and labels, and takes neither texts nor functions for them."""
    assert faults_of(expression, exported()) == faults


def test_alerts_say_what_to_do() -> None:
    """Each has words, a severity and a way on; panels have a place of their own."""
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["description"], name
    document = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    assert len(panels()) == len(document["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]}
    assert len(places) == len(document["panels"])
